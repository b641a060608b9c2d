"""What is signed is what AWS's own botocore 1.44.8 signs; a Secret that can't be used says what to write."""

import hashlib
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest

from passerelle.errors import Invalid, Missing, PasserelleError, Rejected, Unauthorized, Unavailable
from passerelle.gateways.http import Answer
from passerelle.settings import Settings
from passerelle.staging.place import Place, place
from passerelle.staging.s3 import decode, errors
from passerelle.staging.s3.address import address
from passerelle.staging.s3.allowed import Allowed
from passerelle.staging.s3.credential import Access, access
from passerelle.staging.s3.sign import signed
from passerelle.staging.store import Changed

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp()
KEY = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


@pytest.mark.parametrize(
    "method, url, headers, body, token, names, signature",
    [
        (
            "GET",
            "https://bucket.s3.eu-west-1.amazonaws.com/corpus/train%20one~%2B%C3%A9.bin",
            {"range": "bytes=0-99", "if-match": '"abc"'},
            b"",
            "",
            "host;if-match;range;x-amz-content-sha256;x-amz-date",
            "379af8c57e4ba7c4f1782d5fae1caf1ebe34adef2139249f705955c2abb6b0ac",
        ),
        (
            "GET",
            "http://127.0.0.1:9000/bucket/?encoding-type=url&list-type=2&max-keys=1000&prefix=a%2Fb%20c",
            {},
            b"",
            "",
            "host;x-amz-content-sha256;x-amz-date",
            "b51ca6aa3f6ed115f52513f4611e589d497938173b6722f5c798f0dc50cf2843",
        ),
        (
            "PUT",
            "https://lumidata.eu/bucket/k?partNumber=2&uploadId=a%2Bb%3D",
            {"x-amz-checksum-sha256": "x="},
            b"hello",
            "tok/en+1",
            "host;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date;x-amz-security-token",
            "61e5d0ea2b9dcb8fcd529c39397969deacc97bbc90b055153b75127ce57bc63b",
        ),
        (
            "POST",
            "https://lumidata.eu/bucket/k?uploads=",
            {"x-amz-checksum-algorithm": "SHA256", "x-amz-meta-sha256": "00"},
            b"",
            "",
            "host;x-amz-checksum-algorithm;x-amz-content-sha256;x-amz-date;x-amz-meta-sha256",
            "4f1e3999ed7c84acd596211c8fbac9a1316aa6f9b612f3366b4c92bf35493af4",
        ),
    ],
)
def test_a_request_is_signed_as_aws_signs_it(
    method: str, url: str, headers: dict[str, str], body: bytes, token: str, names: str, signature: str
) -> None:
    parts = urlsplit(url)
    who = Access(access_key_id="AKIDEXAMPLE", secret_access_key=KEY, session_token=token, region="eu-west-1")
    made = signed(
        who,
        method,
        host=parts.netloc,
        path=f"{parts.path}?{parts.query}" if parts.query else parts.path,
        headers=headers,
        payload_sha256=hashlib.sha256(body).hexdigest(),
        now=NOW,
    )
    assert made["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260304/eu-west-1/s3/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )
    assert KEY not in repr(who)
    assert not token or token not in repr(who)


def test_a_bucket_stands_before_aws_and_behind_an_endpoint() -> None:
    at_aws = address("corpora", endpoint="", region="eu-north-1")
    assert f"{at_aws.base}/{at_aws.path('a b/c')}" == "https://corpora.s3.eu-north-1.amazonaws.com/a%20b/c"
    dotted = address("my.corpora", endpoint="", region="eu-north-1")
    assert f"{dotted.base}/{dotted.path('k')}" == "https://s3.eu-north-1.amazonaws.com/my.corpora/k"
    own = address("corpora", endpoint="https://lumidata.eu/", region="x")
    query = [("prefix", "a/b"), ("list-type", "2")]
    assert f"{own.base}/{own.path('', query)}" == "https://lumidata.eu/corpora/?list-type=2&prefix=a%2Fb"


@pytest.mark.parametrize("url", ["https://b/k", "s3://b/k", "s3://bucket", "s3:///k", "s3://bucket//k", "s3://b_!/k"])
def test_what_is_no_place_is_refused(url: str) -> None:
    with pytest.raises(Invalid, match=r"write one object as s3://BUCKET/KEY.* 3 to 63 letters"):
        place(url)


@pytest.mark.parametrize("key", ["../other/key", "a/../b", "./a", "a/.", "a/../"])
def test_a_key_does_not_lead_out_of_its_bucket(key: str) -> None:
    with pytest.raises(Invalid, match=r"write the key itself"):
        place(f"s3://bucket/{key}")
    assert place("s3://bucket/..a/b../.hidden").key == "..a/b../.hidden"


@pytest.mark.parametrize(
    "endpoint, hosts, loopback, words",
    [
        ("http://127.0.0.1:9000", (), False, "without TLS"),
        ("http://127.0.0.1:9000", (), True, ""),
        ("https://lumidata.eu", (), False, ""),
        ("https://lumidata.eu:8443", ("LumiData.eu",), False, ""),
        ("https://a.lumidata.eu", ("lumidata.eu",), False, "is at a.lumidata.eu, and the administrator"),
        ("https://evil-lumidata.eu", ("*.lumidata.eu",), False, "chart's value objectStoreHosts"),
        ("https://a.lumidata.eu", ("other", "*.lumidata.eu"), False, ""),
        ("https://lumidata.eu.evil", ("lumidata.eu",), False, "allows lumidata.eu alone"),
        ("", ("s3.us-east-1.amazonaws.com",), False, ""),
        ("", ("*.amazonaws.com",), False, ""),
        ("", ("lumidata.eu",), False, "is at s3.us-east-1.amazonaws.com"),
    ],
)
async def test_an_administrator_says_which_stores_there_are(
    endpoint: str, hosts: tuple[str, ...], loopback: bool, words: str
) -> None:
    who = Access(access_key_id="a", secret_access_key=KEY, endpoint=endpoint)
    allowed = Allowed(hosts, loopback)
    if words:
        with pytest.raises(Invalid, match=words) as told:
            allowed.store("bucket", who)
        assert KEY not in told.value.message
    else:
        await allowed.store("bucket", who).close()


@pytest.mark.parametrize(
    "told, hosts",
    [("", ()), ("lumidata.eu *.amazonaws.com", ("lumidata.eu", "*.amazonaws.com")), ("a.b,c", ("a.b", "c"))],
)
def test_the_hosts_are_told_by_the_environment(told: str, hosts: tuple[str, ...]) -> None:
    assert Settings.read({"PASSERELLE_OBJECT_STORE_HOSTS": told}).object_store_hosts == hosts


@pytest.mark.parametrize(
    "name, word, mend",
    [
        ("PASSERELLE_OBJECT_STORE_HOSTS", "https://lumidata.eu", "write hosts without a port"),
        ("PASSERELLE_OBJECT_STORE_HOSTS", "*", "write hosts without a port"),
        ("PASSERELLE_OBJECT_STORE_LOOPBACK", "yes", "write true or false"),
    ],
)
def test_a_setting_that_is_none_is_refused(name: str, word: str, mend: str) -> None:
    with pytest.raises(Invalid, match=mend):
        Settings.read({name: word})


def test_a_place_tells_whether_it_is_one_object() -> None:
    assert [place(f"s3://bucket/{key}").is_prefix for key in ("", "a/", "a")] == [True, True, False]


@pytest.mark.parametrize(
    "data, kind, words",
    [
        ({}, Unauthorized, "has no AWS_ACCESS_KEY_ID and no AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": b"a"}, Unauthorized, "has no AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": b"a", "AWS_SECRET_ACCESS_KEY": b"b c"}, Unauthorized, "in AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": b"\xff", "AWS_SECRET_ACCESS_KEY": b"b"}, Unauthorized, "in AWS_ACCESS_KEY_ID"),
        ({"AWS_ENDPOINT_URL": b"http://lumidata.eu"}, Invalid, r"write https://HOST\[:PORT\]"),
        ({"AWS_ENDPOINT_URL": b"https://user:pass@lumidata.eu"}, Invalid, r"write https://HOST\[:PORT\]"),
        ({"AWS_ENDPOINT_URL": b"https://lumidata..eu"}, Invalid, r"write https://HOST\[:PORT\]"),
        ({"AWS_ENDPOINT_URL": b"https://lumidata.eu:99999"}, Invalid, r"write https://HOST\[:PORT\]"),
        ({"AWS_REGION": b"eu west"}, Unauthorized, "in AWS_REGION"),
        ({"AWS_REGION": b"eu/west"}, Invalid, "write one like eu-west-1"),
    ],
)
def test_a_secret_that_cant_be_used_says_what_to_write(
    data: dict[str, bytes], kind: type[PasserelleError], words: str
) -> None:
    keys = (
        {"AWS_ACCESS_KEY_ID": b"a", "AWS_SECRET_ACCESS_KEY": b"b"} if data and "AWS_ACCESS_KEY_ID" not in data else {}
    )
    with pytest.raises(kind, match=words) as told:
        access("team/s3", {**keys, **data})
    assert "team/s3" in told.value.message
    assert "pass" not in told.value.message


def test_a_secret_may_end_in_a_newline_and_name_a_loopback_address() -> None:
    found = access(
        "team/s3",
        {
            "AWS_ACCESS_KEY_ID": b"a\n",
            "AWS_SECRET_ACCESS_KEY": b"b\n",
            "AWS_ENDPOINT_URL": b"http://127.0.0.1:9000\n",
        },
    )
    assert (found.access_key_id, found.secret_access_key, found.region) == ("a", "b", "us-east-1")
    assert found.endpoint == "http://127.0.0.1:9000"


def answered(status: int, code: str = "", **headers: str) -> Answer:
    body = f"<Error><Code>{code}</Code><Message>told with AKIDEXAMPLE</Message></Error>".encode() if code else b""
    return Answer(status, "application/xml", body, headers)


@pytest.mark.parametrize(
    "answer, kind, words",
    [
        (answered(403, "ExpiredToken"), Unauthorized, "renew it in the Secret"),
        (answered(403, "AccessDenied"), Rejected, "give it the right to that place"),
        (answered(403), Rejected, "give it the right to that place"),
        (answered(404), Missing, "put it there"),
        (answered(404, "NoSuchBucket"), Invalid, "create it"),
        (answered(412, "PreconditionFailed"), Changed, "copied anew"),
        (answered(301, "PermanentRedirect"), Invalid, "another AWS_REGION or AWS_ENDPOINT_URL"),
        (answered(307), Invalid, "is elsewhere"),
        (answered(503, "SlowDown"), Unavailable, "can't answer now (HTTP 503, SlowDown)"),
        (answered(500), Unavailable, "can't answer now (HTTP 500)"),
        (answered(403, "QuotaExceeded"), Rejected, "make room, or ask for more"),
        (answered(400, "WhateverElse"), Rejected, "(HTTP 400, WhateverElse)"),
    ],
)
def test_every_error_is_somebodys_to_mend(answer: Answer, kind: type[PasserelleError], words: str) -> None:
    told = errors.meaning(answer, Place("bucket", "a/b"), "lumidata.eu", "the Secret ns/s3")
    assert type(told) is kind
    assert words in told.message
    assert "AKID" not in told.message


def test_a_completion_may_fail_after_it_was_answered() -> None:
    assert errors.failed_late(answered(200, "InternalError"))
    assert not errors.failed_late(Answer(200, "", b"<CompleteMultipartUploadResult/>"))


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"<html></html>", b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult>&a;</ListBucketResult>']
)
def test_what_is_no_answer_of_s3_is_nobodys_mistake(body: bytes) -> None:
    with pytest.raises(Unavailable, match="is not understood"):
        decode.page(body, "b")


BOMB = b'<!DOCTYPE r [<!ENTITY a "AAAAAAAAAA">]><Error><Code>&a;</Code></Error>'


@pytest.mark.parametrize("before", [b"", b"<!--" + b"x" * 5000 + b"-->"])
def test_no_document_type_is_read_wherever_it_begins(before: bytes) -> None:
    assert decode.fault(before + BOMB) == ("", "")
    with pytest.raises(Unavailable, match="is not understood"):
        decode.page(before + BOMB.replace(b"Error", b"ListBucketResult"), "b")


def test_an_answer_of_too_many_elements_is_left_alone() -> None:
    body = b"<ListBucketResult>" + b"<a/>" * decode.MOST_ELEMENTS + b"</ListBucketResult>"
    with pytest.raises(Unavailable, match="is not understood"):
        decode.page(body, "b")
    assert decode.fault(b"<Error><Code>SlowDown</Code>" + b" " * decode.FAULT_LIMIT + b"</Error>") == ("", "")


def test_what_a_store_says_stands_in_no_message_unless_it_is_a_word() -> None:
    body = b"<Error><Code>PermanentRedirect</Code><Region>x&#10;INJECTED line</Region></Error>"
    assert decode.fault(body) == ("PermanentRedirect", "")
    assert decode.fault(body.replace(b"x&#10;INJECTED line", b"eu-north-1"))[1] == "eu-north-1"


def test_white_space_before_a_late_error_is_none_of_it() -> None:
    assert decode.fault(b'\n \n<?xml version="1.0"?><Error><Code>InternalError</Code></Error>')[0] == "InternalError"


def test_an_object_without_an_etag_is_named_and_needs_a_person() -> None:
    listed = b"<ListBucketResult><Contents><Key>web/a</Key><Size>7</Size></Contents></ListBucketResult>"
    for read in (lambda: decode.page(listed, "b"), lambda: decode.stored(Place("b", "web/a"), {"content-length": "7"})):
        with pytest.raises(Invalid, match=r"no ETag of 's3://b/web/a'.*upload the object again through S3") as caught:
            read()
        assert caught.value.reason == "EtagMissing"


def test_a_listing_is_read_in_any_name_space() -> None:
    listed = (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><EncodingType>url</EncodingType>'
        "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>"
        "<Contents><Key>a%20b%2B/%C3%BC+c</Key><Size>7</Size><ETag>&quot;e&quot;</ETag></Contents></ListBucketResult>"
    )
    page = decode.page(listed.encode(), "b")
    assert page.more == "t"
    assert [(each.key, each.size, each.version) for each in page.found] == [("a b+/ü c", 7, '"e"')]
