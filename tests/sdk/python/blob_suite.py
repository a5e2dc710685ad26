"""The cases of PyPI's azure-storage-blob against a blob store. Every case has a container of its own, named after it."""

import datetime
import os

from azure.core import MatchConditions
from azure.core.exceptions import (
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
)
from azure.storage.blob import (
    AccountSasPermissions,
    BlobServiceClient,
    ContentSettings,
    ResourceTypes,
    generate_account_sas,
)
from suite import case, equal, main, raises

# Not there when the cases are only listed.
ACCOUNT_URL = os.environ.get("BLOB_ACCOUNT_URL")
ACCOUNT = os.environ.get("BLOB_ACCOUNT")
KEY = os.environ.get("BLOB_ACCOUNT_KEY")


def service(key=KEY):
    credential = {"account_name": ACCOUNT, "account_key": key}
    return BlobServiceClient(ACCOUNT_URL, credential=credential, retry_total=0)


def with_sas(permission, resource_types=ResourceTypes(container=True, object=True), hours=1):
    expiry = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=hours)
    sas = generate_account_sas(ACCOUNT, KEY, resource_types, permission, expiry)
    return BlobServiceClient(ACCOUNT_URL, credential=sas, retry_total=0)


def refused(code, action):
    error = raises(HttpResponseError, action)
    equal(getattr(error, "error_code", None), code)
    return error


@case
def create_container(name):
    container = service().create_container(name, metadata={"owner": "me"})
    equal(container.get_container_properties().metadata, {"owner": "me"})
    assert container.exists()
    error = raises(ResourceExistsError, lambda: service().create_container(name))
    equal(error.error_code, "ContainerAlreadyExists")
    container.delete_container()
    assert not container.exists()
    refused("ContainerNotFound", container.get_container_properties)


@case
def list_containers(name):
    client = service()
    for suffix in ("b", "a", "c"):
        client.create_container(f"{name}-{suffix}")
    pages = client.list_containers(name_starts_with=name, results_per_page=2).by_page()
    equal([[container.name for container in page] for page in pages], [[f"{name}-a", f"{name}-b"], [f"{name}-c"]])


@case
def bad_container_name(_):
    refused("InvalidResourceName", lambda: service().create_container("Not_Allowed"))


@case
def upload_and_download(name):
    blob = service().create_container(name).get_blob_client("orders/1.json")
    written = blob.upload_blob(b'{"a":1}', content_settings=ContentSettings(content_type="application/json"))
    download = blob.download_blob()
    equal(download.readall(), b'{"a":1}')
    equal(download.properties.content_settings.content_type, "application/json")
    equal(download.properties.etag, written["etag"])
    assert blob.exists()


@case
def overwrite(name):
    blob = service().create_container(name).get_blob_client("a")
    first = blob.upload_blob(b"first")
    error = raises(ResourceExistsError, lambda: blob.upload_blob(b"second"))
    equal(error.error_code, "BlobAlreadyExists")
    second = blob.upload_blob(b"second", overwrite=True)
    assert first["etag"] != second["etag"]
    equal(blob.download_blob().readall(), b"second")


@case
def empty_blob(name):
    blob = service().create_container(name).get_blob_client("empty")
    blob.upload_blob(b"")
    equal(blob.download_blob().readall(), b"")
    equal(blob.get_blob_properties().size, 0)


@case
def large_blob(name):
    large = os.urandom(6 << 20)
    blob = service().create_container(name).get_blob_client("large")
    blob.upload_blob(large)
    assert blob.download_blob().readall() == large
    equal(blob.download_blob(offset=5, length=10).readall(), large[5:15])


@case
def download_in_chunks(name):
    container = service().create_container(name)
    container.upload_blob("a", bytes(range(250)) * 40)
    client = BlobServiceClient(
        ACCOUNT_URL,
        credential={"account_name": ACCOUNT, "account_key": KEY},
        max_single_get_size=1000,
        max_chunk_get_size=999,
    )
    equal(client.get_blob_client(name, "a").download_blob(max_concurrency=3).readall(), bytes(range(250)) * 40)


@case
def names(name):
    container = service().create_container(name)
    blobs = ["a/b/c", "with space", "100%+1", "日本", "x<y>&\"'", "q?a=b#c"]
    for blob in blobs:
        container.upload_blob(blob, blob.encode())
    equal(sorted(container.list_blob_names()), sorted(blobs))
    for blob in blobs:
        equal(container.download_blob(blob).readall(), blob.encode(), blob)


@case
def properties(name):
    blob = service().create_container(name).get_blob_client("a")
    settings = ContentSettings(
        content_type="text/plain",
        content_encoding="identity",
        content_language="de",
        content_disposition="inline",
        cache_control="no-store",
    )
    blob.upload_blob(b"hello", content_settings=settings, metadata={"kind": "order", "k_2": "v"})
    found = blob.get_blob_properties()
    equal((found.size, found.blob_type, found.metadata), (5, "BlockBlob", {"kind": "order", "k_2": "v"}))
    for attribute in ("content_type", "content_encoding", "content_language", "content_disposition", "cache_control"):
        equal(getattr(found.content_settings, attribute), getattr(settings, attribute), attribute)
    equal(bytes(found.content_settings.content_md5).hex(), "5d41402abc4b2a76b9719d911017c592")
    assert abs((datetime.datetime.now(datetime.timezone.utc) - found.last_modified).total_seconds()) < 60
    blob.set_http_headers(ContentSettings(content_type="a/b"))
    equal(blob.get_blob_properties().content_settings.content_type, "a/b")


@case
def metadata(name):
    blob = service().create_container(name).get_blob_client("a")
    blob.upload_blob(b"x", metadata={"old": "1"})
    blob.set_blob_metadata({"new": "2"})
    equal(blob.get_blob_properties().metadata, {"new": "2"})
    equal(blob.download_blob().properties.metadata, {"new": "2"})
    refused("InvalidMetadata", lambda: blob.set_blob_metadata({"not-an-identifier": "1"}))


@case
def list_blobs(name):
    container = service().create_container(name)
    for number in range(12):
        container.upload_blob(f"p/{number:02}", b"x", metadata={"n": str(number)})
    container.upload_blob("q", b"x")
    pages = container.list_blobs(name_starts_with="p/", include=["metadata"], results_per_page=5).by_page()
    found = [list(page) for page in pages]
    equal([len(page) for page in found], [5, 5, 2])
    blobs = [blob for page in found for blob in page]
    equal([blob.name for blob in blobs], [f"p/{number:02}" for number in range(12)])
    equal([blob.metadata["n"] for blob in blobs], [str(number) for number in range(12)])
    equal((blobs[0].size, blobs[0].blob_type), (1, "BlockBlob"))
    equal(list(container.list_blobs(name_starts_with="none")), [])
    refused("ContainerNotFound", lambda: list(service().get_container_client(name + "-none").list_blobs()))


@case
def walk_blobs(name):
    container = service().create_container(name)
    for blob in ("a/1", "a/2", "b", "c/d/3"):
        container.upload_blob(blob, b"x")
    equal(sorted(item.name for item in container.walk_blobs()), ["a/", "b", "c/"])


@case
def delete(name):
    blob = service().create_container(name).get_blob_client("a")
    blob.upload_blob(b"x")
    blob.delete_blob()
    assert not blob.exists()
    for action in (blob.delete_blob, blob.download_blob, blob.get_blob_properties):
        error = raises(ResourceNotFoundError, action)
        equal(error.error_code, "BlobNotFound")


@case
def conditions(name):
    blob = service().create_container(name).get_blob_client("a")
    etag = blob.upload_blob(b"1")["etag"]
    only_if_same = {"etag": etag, "match_condition": MatchConditions.IfNotModified}
    blob.upload_blob(b"2", overwrite=True, **only_if_same)
    error = raises(ResourceModifiedError, lambda: blob.upload_blob(b"3", overwrite=True, **only_if_same))
    equal(error.error_code, "ConditionNotMet")
    equal(blob.download_blob().readall(), b"2")


@case
def wrong_key(name):
    error = raises(HttpResponseError, lambda: service("d3JvbmcgLSB3cm9uZw==").create_container(name))
    equal(error.status_code, 403)
    assert not service().get_container_client(name).exists()


@case
def no_credentials(_):
    anonymous = BlobServiceClient(ACCOUNT_URL, retry_total=0)
    equal(raises(HttpResponseError, lambda: list(anonymous.list_containers())).status_code, 403)


@case
def connection_string(name):
    parts = f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={ACCOUNT_URL};"
    container = BlobServiceClient.from_connection_string(parts).create_container(name)
    container.upload_blob("a", b"x")
    equal(service().get_blob_client(name, "a").download_blob().readall(), b"x")


@case
def account_sas_reads(name):
    container = service().create_container(name)
    container.upload_blob("a", b"x")
    client = with_sas(AccountSasPermissions(read=True, list=True))
    equal(client.get_blob_client(name, "a").download_blob().readall(), b"x")
    equal([blob.name for blob in client.get_container_client(name).list_blobs()], ["a"])
    blob = client.get_blob_client(name, "a")
    refused("AuthorizationPermissionMismatch", lambda: blob.upload_blob(b"y", overwrite=True))
    refused("AuthorizationPermissionMismatch", blob.delete_blob)


@case
def account_sas_writes(name):
    service().create_container(name)
    writer = with_sas(AccountSasPermissions(write=True, create=True)).get_blob_client(name, "a")
    writer.upload_blob(b"x", overwrite=True)
    refused("AuthorizationPermissionMismatch", writer.download_blob)
    types = ResourceTypes(container=True)
    reader = with_sas(AccountSasPermissions(read=True), types).get_blob_client(name, "a")
    refused("AuthorizationResourceTypeMismatch", reader.download_blob)


@case
def expired_account_sas(name):
    service().create_container(name).upload_blob("a", b"x")
    expired = with_sas(AccountSasPermissions(read=True), hours=-1).get_blob_client(name, "a")
    equal(raises(HttpResponseError, expired.download_blob).status_code, 403)


if __name__ == "__main__":
    main(lambda name: "python-" + name.replace("_", "-"))
