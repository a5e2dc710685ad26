// Plays the table of blob cases with npm's @azure/storage-blob, and prints what each step saw: the answers on the wire
// and what the SDK made of them.
"use strict";

const crypto = require("node:crypto");
const diagnostics = require("node:diagnostics_channel");
const fs = require("node:fs");
const {
  AnonymousCredential,
  BlobSASPermissions,
  BlobServiceClient,
  ContainerSASPermissions,
  StorageSharedKeyCredential,
  generateBlobSASQueryParameters,
} = require("@azure/storage-blob");

const { BLOB_ACCOUNT_URL: ACCOUNT_URL, BLOB_ACCOUNT: ACCOUNT, BLOB_ACCOUNT_KEY: KEY } = process.env;
const DAY_MS = 86_400_000;
const INSTANTS = { past: new Date(Date.now() - DAY_MS), future: new Date(Date.now() + DAY_MS) };
const OWNER = new StorageSharedKeyCredential(ACCOUNT, KEY);

let answers = [];

// Status and headers of every answer, as Node itself saw them.
diagnostics.subscribe("http.client.response.finish", ({ response }) => {
  answers.push({ status: response.statusCode, headers: response.headers });
});

const OPTIONS = { retryOptions: { maxTries: 1 } };

async function collected(iterable, of) {
  const found = [];
  for await (const item of iterable) found.push(of(item));
  return found;
}

function shown(content) {
  if (content.length < 100) return content.toString();
  return [content.length, crypto.createHash("sha256").update(content).digest("hex")];
}

async function contentOf(answer) {
  const parts = await collected(answer.readableStreamBody, (part) => part);
  return shown(Buffer.concat(parts));
}

/** The headers of a step, under the SDK's names for them. */
function blobHTTPHeaders(step) {
  const words = Object.entries(step.headers ?? {}).map(([name, value]) => {
    const upper = name.replace(/(^|_)([a-z])/g, (_, __, letter) => letter.toUpperCase());
    return [`blob${upper}`, value];
  });
  return Object.fromEntries(words);
}

/** One case, with a container of its own. */
class Case {
  constructor(name) {
    this.name = name;
    this.container = new BlobServiceClient(ACCOUNT_URL, OWNER, OPTIONS).getContainerClient(name);
    this.tag = undefined;
  }

  conditions(step) {
    const tag = (value) => (value === "last" ? this.tag : value);
    return {
      ifMatch: tag(step.if_match),
      ifNoneMatch: tag(step.if_none_match),
      ifModifiedSince: INSTANTS[step.if_modified_since],
      ifUnmodifiedSince: INSTANTS[step.if_unmodified_since],
    };
  }

  signed(step) {
    const ofBlob = step.scope === "blob";
    const permissions = (ofBlob ? BlobSASPermissions : ContainerSASPermissions).parse(step.permissions);
    const values = { containerName: this.name, permissions, expiresOn: INSTANTS.future };
    if (ofBlob) values.blobName = step.blob;
    const sas = generateBlobSASQueryParameters(values, OWNER);
    const service = new BlobServiceClient(`${ACCOUNT_URL}?${sas}`, new AnonymousCredential(), OPTIONS);
    return service.getContainerClient(this.name).getBlockBlobClient(step.blob);
  }

  async play(step) {
    const { container } = this;
    const blob = container.getBlockBlobClient(step.blob ?? "unused");
    const conditions = this.conditions(step);
    const body = Buffer.from((step.text ?? "").repeat(step.repeat ?? 1));
    const { metadata } = step;
    switch (step.op) {
      case "put": {
        const options = { blobHTTPHeaders: blobHTTPHeaders(step), metadata, conditions };
        this.tag = (await blob.upload(body, body.length, options)).etag;
        return null;
      }
      case "get":
        return contentOf(await blob.download(step.offset, step.count, { conditions }));
      case "properties":
        return (await blob.getProperties({ conditions })).metadata;
      case "set_metadata":
        return void (await blob.setMetadata(metadata, { conditions }));
      case "set_headers":
        return void (await blob.setHTTPHeaders(blobHTTPHeaders(step), { conditions }));
      case "delete":
        return void (await blob.delete({ conditions }));
      case "stage":
        return void (await blob.stageBlock(step.id, body, body.length));
      case "commit":
        return void (await blob.commitBlockList(step.ids, { blobHTTPHeaders: blobHTTPHeaders(step), metadata }));
      case "blocks": {
        const lists = await blob.getBlockList(step.kind);
        const of = (blocks) => (blocks ?? []).map((block) => [block.name, block.size]);
        return [of(lists.committedBlocks), of(lists.uncommittedBlocks)];
      }
      case "list": {
        const options = {
          prefix: step.prefix,
          includeMetadata: step.metadata,
          includeUncommitedBlobs: step.uncommitted,
        };
        const pages = container.listBlobsFlat(options).byPage({ maxPageSize: step.max });
        const item = (found) => [found.name, found.properties.contentLength, found.metadata ?? {}];
        return collected(pages, (page) => page.segment.blobItems.map(item));
      }
      case "walk": {
        const walked = container.listBlobsByHierarchy(step.delimiter, { prefix: step.prefix });
        return (await collected(walked, (item) => `${item.kind}:${item.name}`)).sort();
      }
      case "copy":
        return void (await (await blob.beginCopyFromURL(`${ACCOUNT_URL}/${this.name}/${step.from}`)).pollUntilDone());
      case "sas_get":
        return contentOf(await this.signed(step).download());
      case "sas_put":
        return void (await this.signed(step).upload(body, body.length));
      case "create_container":
        return void (await container.create());
      case "set_container_metadata":
        return void (await container.setMetadata(metadata));
      case "container_properties":
        return (await container.getProperties()).metadata;
      case "delete_container":
        return void (await container.delete());
      default:
        throw new Error(`nobody knows the step ${step.op}`);
    }
  }
}

async function main() {
  for (const entry of JSON.parse(fs.readFileSync(process.argv[2], "utf8"))) {
    const played = new Case(`table-${entry.case}`);
    await played.container.create();
    const seen = [];
    for (const step of entry.steps) {
      answers = [];
      let result;
      try {
        result = (await played.play(step)) ?? null;
      } catch (error) {
        if (error.statusCode === undefined) throw error;
        result = { error: error.code ?? null };
      }
      seen.push({ op: step.op, answers, result });
    }
    console.log(JSON.stringify({ case: entry.case, seen }));
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
