"""Plays the table of blob cases with PyPI's azure-storage-blob, and prints what each step saw: the answers on the wire
and what the SDK made of them.
"""

import base64
import datetime
import hashlib
import json
import os
import sys

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import (
    BlobBlock,
    BlobServiceClient,
    ContentSettings,
    generate_blob_sas,
    generate_container_sas,
)

ACCOUNT_URL = os.environ["BLOB_ACCOUNT_URL"]
ACCOUNT = os.environ["BLOB_ACCOUNT"]
KEY = os.environ["BLOB_ACCOUNT_KEY"]
NOW = datetime.datetime.now(datetime.timezone.utc)
INSTANTS = {"past": NOW - datetime.timedelta(days=1), "future": NOW + datetime.timedelta(days=1)}

_answers = []


def note(response):
    """Keeps status and headers of every answer."""
    answer = response.http_response
    headers = {name.lower(): value for name, value in answer.headers.items()}
    _answers.append({"status": answer.status_code, "headers": headers})


def service(credential=None):
    credential = credential or {"account_name": ACCOUNT, "account_key": KEY}
    return BlobServiceClient(ACCOUNT_URL, credential=credential, retry_total=0, raw_response_hook=note)


def shown(content):
    return content.decode() if len(content) < 100 else [len(content), hashlib.sha256(content).hexdigest()]


class Case:
    """One case, with a container of its own."""

    def __init__(self, name):
        self.name = name
        self.container = service().get_container_client(name)
        self.container.create_container()
        self.tag = None

    def conditions(self, step):
        found = {}
        # The SDK has words for the headers; the headers themselves are plainer.
        for name in ("if_match", "if_none_match"):
            if name in step:
                found[name.replace("_", "-")] = self.tag if step[name] == "last" else step[name]
        for name in ("if_modified_since", "if_unmodified_since"):
            if name in step:
                found[name.replace("_", "-")] = INSTANTS[step[name]].strftime("%a, %d %b %Y %H:%M:%S GMT")
        return {"headers": found} if found else {}

    @staticmethod
    def settings(step):
        return {"content_settings": ContentSettings(**step["headers"])} if "headers" in step else {}

    def signed(self, step):
        common = {"account_key": KEY, "permission": step["permissions"], "expiry": INSTANTS["future"]}
        if step["scope"] == "blob":
            sas = generate_blob_sas(ACCOUNT, self.name, step["blob"], **common)
        else:
            sas = generate_container_sas(ACCOUNT, self.name, **common)
        return service(sas).get_blob_client(self.name, step["blob"])

    def play(self, step):
        op, asked = step["op"], self.conditions(step)
        blob = self.container.get_blob_client(step.get("blob", "unused"))
        body = (step.get("text", "") * step.get("repeat", 1)).encode()
        metadata = step.get("metadata")
        if op == "put":
            written = blob.upload_blob(body, overwrite=True, metadata=metadata, **self.settings(step), **asked)
            self.tag = written["etag"]
        elif op == "get":
            return shown(blob.download_blob(step.get("offset"), step.get("count"), **asked).readall())
        elif op == "properties":
            return blob.get_blob_properties(**asked).metadata
        elif op == "set_metadata":
            blob.set_blob_metadata(metadata, **asked)
        elif op == "set_headers":
            blob.set_http_headers(ContentSettings(**step["headers"]), **asked)
        elif op == "delete":
            blob.delete_blob(**asked)
        elif op == "stage":
            # The SDK encodes ids itself.
            blob.stage_block(base64.b64decode(step["id"]).decode(), body)
        elif op == "commit":
            ids = [BlobBlock(base64.b64decode(block).decode()) for block in step["ids"]]
            blob.commit_block_list(ids, metadata=metadata, **self.settings(step))
        elif op == "blocks":
            lists = blob.get_block_list(step["kind"])
            return [[[block.id, block.size] for block in blocks] for blocks in lists]
        elif op == "list":
            include = [name for name in ("metadata",) if step.get(name)]
            include += ["uncommittedblobs"] if step.get("uncommitted") else []
            listed = self.container.list_blobs(
                name_starts_with=step.get("prefix"), include=include, results_per_page=step.get("max")
            )
            pages = [[[blob.name, blob.size, blob.metadata] for blob in page] for page in listed.by_page()]
            return pages
        elif op == "walk":
            walked = self.container.walk_blobs(step.get("prefix"), delimiter=step["delimiter"])
            return sorted(item.name for item in walked)
        elif op == "copy":
            blob.start_copy_from_url(f"{ACCOUNT_URL}/{self.name}/{step['from']}")
        elif op == "sas_get":
            return shown(self.signed(step).download_blob().readall())
        elif op == "sas_put":
            self.signed(step).upload_blob(body, overwrite=True)
        elif op == "create_container":
            self.container.create_container()
        elif op == "set_container_metadata":
            self.container.set_container_metadata(metadata)
        elif op == "container_properties":
            return self.container.get_container_properties().metadata
        elif op == "delete_container":
            self.container.delete_container()
        else:
            raise AssertionError(f"nobody knows the step {op}")
        return None


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        table = json.load(file)
    for entry in table:
        case, seen = Case("table-" + entry["case"]), []
        for step in entry["steps"]:
            _answers.clear()
            try:
                result = case.play(step)
            except HttpResponseError as error:
                result = {"error": str(error.error_code) if hasattr(error, "error_code") else None}
            seen.append({"op": step["op"], "answers": list(_answers), "result": result})
        print(json.dumps({"case": entry["case"], "seen": seen}), flush=True)


main()
