"""Calls EC2 as it is told, one JSON line for each call and one for each reply.

{"call": "describe_instances", "parameters": {}}  ->  {"answer": {...}} | {"refused": CODE} | {"lost": WHY}

The only argument is the patience in seconds; whoever waits longer for a reply hangs up. Nothing is retried.
"""

import json
import sys

import boto3
import botocore.config
import botocore.exceptions

CONFIG = botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=float(sys.argv[1]))
ec2 = boto3.client("ec2", config=CONFIG)


def reply(call, parameters):
    try:
        return {"answer": getattr(ec2, call)(**parameters)}
    except botocore.exceptions.ClientError as error:
        return {"refused": error.response["Error"]["Code"]}
    except (botocore.exceptions.HTTPClientError, botocore.exceptions.ConnectionError) as error:
        return {"lost": str(error)}


for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(reply(asked["call"], asked["parameters"]), default=str), flush=True)
