from collections.abc import Iterator
from pathlib import Path

import pytest

from models import storage
from models.s3_client import has_credentials, s3_client
from models.storage import StorageError
from tests.local_bucket import environment_of
from tests.strict_s3 import StrictS3, strict_s3

KEYS = (
    "plain.jpg",
    "with space.jpg",
    "a+b.jpg",
    "100%.jpg",
    "already%20encoded.jpg",
    "näher/ñandú 😀.jpg",
    "na\u0308her/decomposed.jpg",
    "q?uery&hash#.jpg",
    "double//slash.jpg",
    "/leading.jpg",
    "a/./b/~c.jpg",
)


@pytest.fixture
def signed() -> Iterator[StrictS3]:
    with strict_s3() as store:
        yield store


@pytest.fixture
def anonymous() -> Iterator[StrictS3]:
    with strict_s3(with_credentials=False) as store:
        yield store


def url_of(bucket: str) -> str:
    url = s3_client().generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    return url.partition("?")[0]


def test_a_store_without_the_newer_checksums_can_be_written_and_read(signed: StrictS3, tmp_path: Path):
    large = b"weights " * 1_100_000  # above the 8 MB from which s3transfer uploads parts
    storage.write_bytes("s3://lesions/a/small", b"small")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "large").write_bytes(large)
    storage.upload_folder(tmp_path / "model", "s3://lesions/a")

    assert signed.rejected == []
    assert storage.read_bytes("s3://lesions/a/large") == large
    assert storage.list_files("s3://lesions/a") == ["s3://lesions/a/large", "s3://lesions/a/small"]
    folder = storage.fetch_folder("s3://lesions/a", tmp_path / "cache")
    assert (folder / "small").read_bytes() == b"small"
    storage.delete("s3://lesions/a/small")
    assert not storage.exists("s3://lesions/a/small")


def test_the_checksum_setting_of_the_environment_does_not_break_such_a_store(
    signed: StrictS3, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("AWS_REQUEST_CHECKSUM_CALCULATION", "when_supported")

    storage.write_bytes("s3://lesions/a", b"a")

    assert signed.rejected == []


def test_the_store_rejects_what_boto3_sends_by_default(signed: StrictS3):
    import boto3
    from botocore.exceptions import ClientError

    with pytest.raises(ClientError, match="NotImplemented"):
        boto3.Session().client("s3").put_object(Bucket="lesions", Key="a", Body=b"a")
    assert signed.rejected


def test_keys_are_sent_and_listed_as_they_are(signed: StrictS3):
    for key in KEYS:
        storage.write_bytes(f"s3://lesions/photos/{key}", key.encode())

    assert signed.objects == {("lesions", f"photos/{key}"): key.encode() for key in KEYS}
    assert storage.list_files("s3://lesions/photos/") == sorted(f"s3://lesions/photos/{key}" for key in KEYS)
    for key in KEYS:
        assert storage.read_bytes(f"s3://lesions/photos/{key}") == key.encode()
        assert storage.exists(f"s3://lesions/photos/{key}")


def test_a_public_bucket_is_read_without_credentials(anonymous: StrictS3):
    anonymous.public = True
    anonymous.objects["lesions", "photos/a.jpg"] = b"photo"

    assert storage.list_files("s3://lesions/photos") == ["s3://lesions/photos/a.jpg"]
    assert storage.read_bytes("s3://lesions/photos/a.jpg") == b"photo"
    assert not has_credentials()


def test_a_private_bucket_without_credentials_is_reported(anonymous: StrictS3):
    message = r"no AWS credentials for s3://lesions/a, and lesions does not allow this .*; set AWS_ACCESS_KEY"
    for use in (storage.read_bytes, storage.list_files, storage.exists):
        with pytest.raises(StorageError, match=message):
            use("s3://lesions/a")
    with pytest.raises(StorageError, match=message):
        storage.write_bytes("s3://lesions/a", b"")


def test_a_wrong_clock_is_reported_as_such(signed: StrictS3):
    for offset_s, clock in ((1200, "20 minutes behind"), (-7200, "120 minutes ahead")):
        signed.clock_offset_s = offset_s
        for use in (storage.read_bytes, storage.exists):  # a HEAD request has no body and no error code
            with pytest.raises(StorageError, match=rf"because this machine's clock is {clock}; set it"):
                use("s3://lesions/a")


def test_an_upload_reports_a_wrong_clock(signed: StrictS3, tmp_path: Path):
    signed.clock_offset_s = 1200
    (tmp_path / "a").touch()

    with pytest.raises(StorageError, match="this machine's clock is 20 minutes behind"):
        storage.upload_folder(tmp_path, "s3://lesions/a")


def test_another_endpoint_is_addressed_by_path_and_aws_by_host(monkeypatch: pytest.MonkeyPatch):
    with environment_of("http://minio.example:9000"):
        assert url_of("lesions") == "http://minio.example:9000/lesions/k"
    with environment_of("http://unused"):
        monkeypatch.delenv("AWS_ENDPOINT_URL")
        assert url_of("lesions") == "https://lesions.s3.amazonaws.com/k"


def test_a_store_that_wants_the_bucket_in_the_host_name_is_reported(signed: StrictS3):
    signed.wants_bucket_in_host = True

    with pytest.raises(StorageError, match=r"SecondLevelDomainForbidden.*addressing_style virtual"):
        storage.read_bytes("s3://lesions/a")


def test_the_addressing_style_can_be_set_in_the_configuration_of_aws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "config").write_text("[default]\ns3 =\n    addressing_style = virtual\n")
    with environment_of("https://oss.example"):
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
        assert url_of("lesions") == "https://lesions.oss.example/k"
