// The cases of npm's @azure/storage-blob against a blob store. Every case has a container of its own.
"use strict";

const assert = require("node:assert/strict");
const crypto = require("node:crypto");
const {
  AccountSASPermissions,
  AccountSASResourceTypes,
  AccountSASServices,
  AnonymousCredential,
  BlobServiceClient,
  SASProtocol,
  StorageSharedKeyCredential,
  generateAccountSASQueryParameters,
} = require("@azure/storage-blob");
const { test, main } = require("./suite.cjs");

const { BLOB_ACCOUNT_URL: ACCOUNT_URL, BLOB_ACCOUNT: ACCOUNT, BLOB_ACCOUNT_KEY: KEY } = process.env;
const OPTIONS = { retryOptions: { maxTries: 1 } };

function service(key = KEY) {
  return new BlobServiceClient(ACCOUNT_URL, new StorageSharedKeyCredential(ACCOUNT, key), OPTIONS);
}

function withSas(permissions, resourceTypes = "co", hours = 1) {
  const values = {
    expiresOn: new Date(Date.now() + hours * 3_600_000),
    permissions: AccountSASPermissions.parse(permissions),
    protocol: SASProtocol.HttpsAndHttp,
    resourceTypes: AccountSASResourceTypes.parse(resourceTypes).toString(),
    services: AccountSASServices.parse("b").toString(),
  };
  const sas = generateAccountSASQueryParameters(values, new StorageSharedKeyCredential(ACCOUNT, KEY));
  return new BlobServiceClient(`${ACCOUNT_URL}?${sas}`, new AnonymousCredential(), OPTIONS);
}

async function container(name) {
  const client = service().getContainerClient(name);
  await client.create();
  return client;
}

function refusedWith(statusCode, code) {
  return (error) => {
    assert.equal(error.statusCode, statusCode, error.stack);
    if (code) assert.equal(error.code, code, error.stack);
    return true;
  };
}

async function text(blob) {
  return (await blob.downloadToBuffer()).toString();
}

test("create_container", async (name) => {
  const client = service().getContainerClient(name);
  await client.create({ metadata: { owner: "me" } });
  assert.deepEqual((await client.getProperties()).metadata, { owner: "me" });
  await assert.rejects(client.create(), refusedWith(409, "ContainerAlreadyExists"));
  assert.equal((await client.createIfNotExists()).succeeded, false);
  await client.delete();
  assert.equal(await client.exists(), false);
});

test("upload_and_download", async (name) => {
  const blob = (await container(name)).getBlockBlobClient("orders/1.json");
  const uploaded = await blob.upload('{"a":1}', 7, { blobHTTPHeaders: { blobContentType: "application/json" } });
  const download = await blob.download();
  assert.equal(download.etag, uploaded.etag);
  assert.equal(download.contentType, "application/json");
  assert.equal(await text(blob), '{"a":1}');
  assert.equal((await blob.downloadToBuffer(2, 3)).toString(), 'a":');
});

test("overwrite", async (name) => {
  const blob = (await container(name)).getBlockBlobClient("a");
  const first = await blob.upload("first", 5);
  const onlyNew = { conditions: { ifNoneMatch: "*" } };
  await assert.rejects(blob.upload("second", 6, onlyNew), refusedWith(409, "BlobAlreadyExists"));
  const second = await blob.upload("second", 6, { conditions: { ifMatch: first.etag } });
  assert.notEqual(first.etag, second.etag);
  await assert.rejects(blob.upload("x", 1, { conditions: { ifMatch: first.etag } }), refusedWith(412, "ConditionNotMet"));
  assert.equal(await text(blob), "second");
});

test("upload_data", async (name) => {
  const large = crypto.randomBytes(5 << 20);
  const blob = (await container(name)).getBlockBlobClient("large");
  await blob.uploadData(large);
  assert.ok(large.equals(await blob.downloadToBuffer()));
});

test("properties_and_metadata", async (name) => {
  const blob = (await container(name)).getBlockBlobClient("a");
  const blobHTTPHeaders = {
    blobContentType: "text/plain",
    blobContentLanguage: "de",
    blobContentDisposition: "inline",
    blobCacheControl: "no-store",
  };
  await blob.upload("hello", 5, { blobHTTPHeaders, metadata: { kind: "order", k_2: "v" } });
  const found = await blob.getProperties();
  assert.deepEqual(found.metadata, { kind: "order", k_2: "v" });
  assert.equal(found.contentLength, 5);
  assert.equal(found.blobType, "BlockBlob");
  assert.equal(found.contentType, "text/plain");
  assert.equal(found.contentLanguage, "de");
  assert.equal(Buffer.from(found.contentMD5).toString("hex"), "5d41402abc4b2a76b9719d911017c592");
  await blob.setMetadata({ next: "2" });
  await blob.setHTTPHeaders({ blobContentType: "a/b" });
  const changed = await blob.getProperties();
  assert.deepEqual(changed.metadata, { next: "2" });
  assert.equal(changed.contentType, "a/b");
});

test("names", async (name) => {
  const client = await container(name);
  const names = ["a/b/c", "with space", "100%+1", "日本", "x<y>&\"'", "q?a=b#c"];
  for (const blob of names) await client.getBlockBlobClient(blob).upload(blob, Buffer.byteLength(blob));
  const found = [];
  for await (const blob of client.listBlobsFlat()) found.push(blob.name);
  assert.deepEqual(found.sort(), [...names].sort());
  for (const blob of names) assert.equal(await text(client.getBlockBlobClient(blob)), blob);
});

test("list_blobs", async (name) => {
  const client = await container(name);
  for (let number = 10; number < 22; number++) {
    await client.getBlockBlobClient(`p/${number}`).upload("x", 1, { metadata: { n: String(number) } });
  }
  await client.getBlockBlobClient("q").upload("x", 1);
  const pages = [];
  const listing = client.listBlobsFlat({ prefix: "p/", includeMetadata: true }).byPage({ maxPageSize: 5 });
  for await (const page of listing) pages.push(page.segment.blobItems);
  assert.deepEqual(pages.map((page) => page.length), [5, 5, 2]);
  const blobs = pages.flat();
  assert.deepEqual(blobs.map((blob) => blob.name), [...Array(12).keys()].map((n) => `p/${n + 10}`));
  assert.deepEqual(blobs.map((blob) => blob.metadata.n), [...Array(12).keys()].map((n) => String(n + 10)));
  const kinds = [];
  for await (const item of client.listBlobsByHierarchy("/")) kinds.push(`${item.kind}:${item.name}`);
  assert.deepEqual(kinds.sort(), ["blob:q", "prefix:p/"]);
});

test("delete", async (name) => {
  const blob = (await container(name)).getBlockBlobClient("a");
  await blob.upload("x", 1);
  await blob.delete();
  assert.equal(await blob.exists(), false);
  await assert.rejects(blob.delete(), refusedWith(404, "BlobNotFound"));
  await assert.rejects(blob.download(), refusedWith(404, "BlobNotFound"));
  const elsewhere = service().getContainerClient(name + "-none").getBlockBlobClient("a");
  await assert.rejects(elsewhere.download(), refusedWith(404, "ContainerNotFound"));
});

test("wrong_key", async (name) => {
  const wrong = service(Buffer.from("wrong").toString("base64")).getContainerClient(name);
  await assert.rejects(wrong.create(), refusedWith(403));
  assert.equal(await service().getContainerClient(name).exists(), false);
});

test("connection_string", async (name) => {
  const parts = `DefaultEndpointsProtocol=http;AccountName=${ACCOUNT};AccountKey=${KEY};BlobEndpoint=${ACCOUNT_URL};`;
  const client = BlobServiceClient.fromConnectionString(parts).getContainerClient(name);
  await client.create();
  await client.getBlockBlobClient("a").upload("x", 1);
  assert.equal(await text(service().getContainerClient(name).getBlockBlobClient("a")), "x");
});

test("account_sas", async (name) => {
  await (await container(name)).getBlockBlobClient("a").upload("x", 1);
  const reader = withSas("rl").getContainerClient(name).getBlockBlobClient("a");
  assert.equal(await text(reader), "x");
  await assert.rejects(reader.upload("y", 1), refusedWith(403, "AuthorizationPermissionMismatch"));
  await assert.rejects(reader.delete(), refusedWith(403, "AuthorizationPermissionMismatch"));
  const narrow = withSas("r", "c").getContainerClient(name).getBlockBlobClient("a");
  await assert.rejects(narrow.download(), refusedWith(403, "AuthorizationResourceTypeMismatch"));
  const expired = withSas("r", "co", -1).getContainerClient(name).getBlockBlobClient("a");
  await assert.rejects(expired.download(), refusedWith(403));
});

main((name) => "javascript-" + name.replaceAll("_", "-"));
