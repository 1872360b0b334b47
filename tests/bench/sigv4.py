"""The verification of signatures, in the path that every request takes, against a bare HMAC over the same bytes."""

import datetime
import json
import subprocess

from clouds import REGION, ROOT
from measure import line
from wire import Wire, found

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"

# A request of the usual size, and the largest user data that EC2 takes.
REQUESTS = {
    "DescribeInstances": {},
    "RunInstances with 16 KiB of user data": {"MinCount": 1, "MaxCount": 1, "UserData": "QUFB" * 5461},
}


def measure():
    wire = Wire("http://127.0.0.1:8773", "TPAKVECTORVECTORVEC1", SECRET, REGION)
    signed = [request(wire, name, parameters) for name, parameters in REQUESTS.items()]
    now = datetime.datetime.now(datetime.timezone.utc).isoformat()
    command = ["cargo", "run", "--quiet", "--release", "-p", "tepui-ec2", "--example", "sigv4_rate"]
    done = subprocess.run(command, cwd=ROOT, input=json.dumps({"now": now, "secret": SECRET, "requests": signed}),
                          stdout=subprocess.PIPE, text=True, check=True)
    for index, figures in enumerate(json.loads(done.stdout), 1):
        pairs = [(mine / figures["round"], bare / figures["round"]) for mine, bare in figures["pairs"]]
        yield line(f"M5-{index}", f"SigV4 verification of {figures['name']}", f"bare HMAC over the same {figures['bytes']} bytes",
                   pairs, at_most=2.0, unit=1e6, unit_name="µs", note="at most twice the time is at least half the rate")


def request(wire, name, parameters):
    body, headers = wire.prepare(name.split()[0], **parameters)
    names = found("SignedHeaders=([^,]*),", headers["Authorization"])[0].split(";")
    headers.setdefault("Host", "127.0.0.1:8773")
    text = body if isinstance(body, str) else body.decode()
    return {"name": name, "signed_headers": names, "headers": list(headers.items()), "body": text}
