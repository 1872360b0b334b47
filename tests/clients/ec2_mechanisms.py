"""Idempotency, pagination, filters, dry runs, capacity and errors, through boto3."""

import concurrent.futures
import os
import time

import boto3
import botocore.config
import botocore.exceptions

ONCE = botocore.config.Config(retries={"max_attempts": 1}, max_pool_connections=32)
ec2 = boto3.client("ec2", config=ONCE)
sts = boto3.client("sts", config=ONCE)
IMAGE = ec2.describe_images(Filters=[{"Name": "name", "Values": ["tiny"]}])["Images"][0]["ImageId"]


def run(count=1, **more):
    parameters = {"ImageId": IMAGE, "InstanceType": "t3.nano", "MinCount": count, "MaxCount": count, **more}
    return ec2.run_instances(**parameters)


def refused(code, status, call, **parameters):
    try:
        call(**parameters)
    except botocore.exceptions.ClientError as error:
        said = error.response["Error"]
        assert said["Code"] == code, f"{code} was expected: {said}"
        got = error.response["ResponseMetadata"]["HTTPStatusCode"]
        assert got == status, f"{code}: HTTP {status} was expected, not {got}"
        return said["Message"]
    raise AssertionError(f"{code} was expected, but the call succeeded")


def instances(**parameters):
    pages = ec2.get_paginator("describe_instances").paginate(**parameters)
    return [i for page in pages for r in page["Reservations"] for i in r["Instances"]]


def until(what, condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.2)


identity = sts.get_caller_identity()
assert identity["Account"].isdigit() and len(identity["Account"]) == 12, identity

# The same token in parallel makes one reservation.
with concurrent.futures.ThreadPoolExecutor(16) as pool:
    replies = list(pool.map(lambda _: run(2, ClientToken="parallel"), range(16)))
assert len({reply["ReservationId"] for reply in replies}) == 1
refused("IdempotentParameterMismatch", 400, run, count=3, ClientToken="parallel")
assert len(instances()) == 2

# Tags, filters with wildcards, pages in a stable order.
tags = [{"Key": "Name", "Value": "batch-*[x]"}, {"Key": "stage", "Value": "test"}]
run(12, TagSpecifications=[{"ResourceType": "instance", "Tags": tags}])
assert len(instances(Filters=[{"Name": "tag:stage", "Values": ["te?t"]}])) == 12
assert len(instances(Filters=[{"Name": "tag:Name", "Values": ["batch-\\*[x]"]}])) == 12
assert len(instances(Filters=[{"Name": "tag-key", "Values": ["stage", "none"]}])) == 12
assert not instances(Filters=[{"Name": "tag:stage", "Values": ["TEST"]}])
whole = [i["InstanceId"] for i in instances()]
paged = [[i["InstanceId"] for i in instances(PaginationConfig={"PageSize": size})] for size in (5, 6)]
assert paged[0] == paged[1] and sorted(paged[0]) == sorted(whole) and len(set(whole)) == 14, (paged, whole)
refused("InvalidParameterValue", 400, ec2.describe_instances, Filters=[{"Name": "colour", "Values": ["red"]}])
refused("InvalidParameterValue", 400, ec2.describe_instances, MaxResults=4)
refused("InvalidParameterCombination", 400, ec2.describe_instances, MaxResults=5, InstanceIds=whole[:1])

# Errors.
refused("InvalidInstanceID.NotFound", 400, ec2.describe_instances, InstanceIds=["i-0123456789abcdef0"])
refused("InvalidInstanceID.Malformed", 400, ec2.describe_instances, InstanceIds=["instance"])
refused("InvalidAMIID.NotFound", 400, run, ImageId="ami-0123456789abcdef0")
refused("InvalidKeyPair.NotFound", 400, run, KeyName="none")
refused("DryRunOperation", 412, run, DryRun=True)
refused("InvalidParameterValue", 400, run, InstanceType="t9.colossal")
stranger = boto3.client("ec2", aws_access_key_id=os.environ["AWS_ACCESS_KEY_ID"], aws_secret_access_key="wrong", config=ONCE)
refused("AuthFailure", 401, stranger.describe_instances)

# Four nodes of limited size: what does not fit leaves nothing behind.
before = len(instances())
message = refused("InsufficientInstanceCapacity", 500, run, count=500)
assert len(instances()) == before, message

# A spread group puts each member on a node of its own, and refuses the fifth.
ec2.create_placement_group(GroupName="apart", Strategy="spread")
run(4, Placement={"GroupName": "apart"})
refused("InsufficientInstanceCapacity", 500, run, Placement={"GroupName": "apart"})

# Everything goes through its states.
ids = [i["InstanceId"] for i in instances()]
states = lambda: {i["State"]["Name"] for i in instances()}
until("all run", lambda: states() == {"running"})
ec2.stop_instances(InstanceIds=ids)
until("all are stopped", lambda: states() == {"stopped"})
ec2.start_instances(InstanceIds=ids)
until("all run again", lambda: states() == {"running"})
ec2.terminate_instances(InstanceIds=ids)
until("all are terminated", lambda: states() == {"terminated"})
ec2.delete_placement_group(GroupName="apart")
print("all mechanisms hold")
