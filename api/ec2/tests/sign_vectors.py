#!/usr/bin/env python3
"""Writes tests/golden/signatures.json: requests signed by botocore, at a fixed time.

Run it with the botocore of packaging/requirements.txt; its output is committed.
"""
import datetime
import json
import pathlib
from unittest import mock

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

NOW = datetime.datetime(2026, 3, 4, 5, 6, 7, tzinfo=datetime.timezone.utc)
KEY = Credentials("TPAKVECTORVECTORVEC1", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
FORM = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
BODY = "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3AName&Filter.1.Value.1=a+b%20c"

CASES = [
    ("form", "POST", "https://ec2.tepui-1.test/", {}, FORM, BODY),
    ("form with port", "POST", "http://127.0.0.1:8773/", {}, FORM, BODY),
    ("empty body", "POST", "http://127.0.0.1:8773/", {}, FORM, ""),
    ("body of utf-8", "POST", "http://127.0.0.1:8773/", {}, FORM, "Action=CreateTags&Tag.1.Value=größe"),
    ("get", "GET", "http://127.0.0.1:8773/", {"Action": "DescribeRegions", "Version": "2016-11-15"}, {}, ""),
    ("spaces and marks", "GET", "http://127.0.0.1:8773/", {"Action": "A b", "X": "~-_.!*'()+&=/%"}, {}, ""),
    ("unicode", "GET", "http://127.0.0.1:8773/", {"Action": "ünï¢ode", "名": "値"}, {}, ""),
    ("repeated keys in the url", "GET", "http://127.0.0.1:8773/?b=2&a=2&a=1&b=&c", {}, {}, ""),
    ("path of words", "POST", "http://127.0.0.1:8773/services/Cloud", {}, FORM, BODY),
    ("path with a final slash", "POST", "http://127.0.0.1:8773/services/Cloud/", {}, FORM, BODY),
    ("path with dots", "POST", "http://127.0.0.1:8773/a/./b/../c//d", {}, FORM, BODY),
    ("path with escapes", "POST", "http://127.0.0.1:8773/a%20b/%C3%A9%2F", {}, FORM, BODY),
    ("header with spaces", "POST", "http://127.0.0.1:8773/", {}, {**FORM, "X-Note": "  two   words  "}, BODY),
    ("sts", "POST", "http://127.0.0.1:8773/", {}, FORM, "Action=GetCallerIdentity&Version=2011-06-15"),
]


def vector(name, form, method, url, params, headers, body):
    service = "sts" if name.startswith("sts") else "ec2"
    request = AWSRequest(method=method, url=url, headers=dict(headers), data=body.encode(), params=dict(params))
    if form == "header":
        signer = botocore.auth.SigV4Auth(KEY, service, "tepui-1")
    else:
        signer = botocore.auth.SigV4QueryAuth(KEY, service, "tepui-1", expires=600)
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)):
        signer.add_auth(request)
    prepared = request.prepare()
    host, _, rest = prepared.url.split("://", 1)[1].partition("/")
    path, _, query = ("/" + rest).partition("?")
    sent = {k: v.decode() if isinstance(v, bytes) else v for k, v in prepared.headers.items()}
    sent.setdefault("Host", host)
    data = prepared.body or b""
    return {
        "name": f"{name}, {form}",
        "method": method,
        "path": path,
        "query": query,
        "headers": sorted(sent.items()),
        "body": data.decode() if isinstance(data, bytes) else data,
    }


def main():
    vectors = [vector(case[0], "header", *case[1:]) for case in CASES]
    # botocore moves a form into the query before it signs one, so only requests without a body differ.
    vectors += [vector(case[0], "query", *case[1:]) for case in CASES if not case[5]]
    golden = {"now": NOW.isoformat(), "key_id": KEY.access_key, "secret": KEY.secret_key, "vectors": vectors}
    path = pathlib.Path(__file__).parent / "golden" / "signatures.json"
    path.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n")


main()
