"""Launches a Debian VM through the EC2 API with boto3, waits until its user data ran, and shows it."""

import argparse
import re
import subprocess
import sys
import time
import uuid

import boto3

USER_DATA = """#!/bin/sh
echo "tepui-demo: hello from $(hostname), Debian $(cat /etc/debian_version), kernel $(uname -r)" >/dev/ttyS0
echo "tepui-demo: cloud-init found $(cloud-id) and my user data ran $(cut -d' ' -f1 /proc/uptime) s after boot" >/dev/ttyS0
echo "tepui-demo: end" >/dev/ttyS0
"""
WORDS = re.compile(r"tepui-demo: (.*)")
# Emulated without KVM on two cores, Debian with cloud-init needs about a minute.
DEADLINE_SECONDS = 600


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--dir", required=True)
    parser.add_argument("--stages", required=True)
    options = parser.parse_args()

    ec2 = boto3.client("ec2")
    stages = [line.rstrip().split(" ", 2) for line in open(options.stages)]
    seconds = [(name, float(end) - float(start)) for start, end, name in stages]

    instance = running_demo(ec2)
    started = time.monotonic()
    if instance is None:
        instance = launch(ec2)
        seconds.append(("RunInstances answered", time.monotonic() - started))
        instance = wait_running(ec2, instance["InstanceId"])
        seconds.append(("… until the VM runs", time.monotonic() - started))
    words = wait_words(ec2, instance["InstanceId"])
    seconds.append(("… until its user data ran", time.monotonic() - started))
    ask_doctor()
    summarize(options.dir, instance, words, seconds)


def running_demo(ec2):
    filters = [
        {"Name": "tag:Name", "Values": ["demo"]},
        {"Name": "instance-state-name", "Values": ["pending", "running"]},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    found = [i for page in pages for r in page["Reservations"] for i in r["Instances"]]
    return wait_running(ec2, found[0]["InstanceId"]) if found else None


def launch(ec2):
    image = ec2.describe_images(Filters=[{"Name": "name", "Values": ["debian-12"]}])["Images"][0]
    reply = ec2.run_instances(
        ImageId=image["ImageId"],
        InstanceType="t3.small",
        MinCount=1,
        MaxCount=1,
        ClientToken=str(uuid.uuid4()),
        UserData=USER_DATA,
        TagSpecifications=[{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "demo"}]}],
    )
    return reply["Instances"][0]


def wait_running(ec2, instance_id):
    ec2.get_waiter("instance_running").wait(
        InstanceIds=[instance_id], WaiterConfig={"Delay": 1, "MaxAttempts": DEADLINE_SECONDS}
    )
    reply = ec2.describe_instances(InstanceIds=[instance_id])
    return reply["Reservations"][0]["Instances"][0]


def wait_words(ec2, instance_id):
    deadline = time.monotonic() + DEADLINE_SECONDS
    lines_shown = 0
    while time.monotonic() < deadline:
        console = ec2.get_console_output(InstanceId=instance_id, Latest=True).get("Output", "")
        words = [match.strip() for match in WORDS.findall(console)]
        if words and words[-1] == "end":
            return words[:-1]
        lines = console.splitlines()
        if len(lines) > lines_shown:
            lines_shown = len(lines)
            print(f"   console: {lines_shown} lines, {lines[-1].strip()[:90]}", file=sys.stderr)
        time.sleep(2)
    sys.exit(f"error: the user data of {instance_id} did not run within {DEADLINE_SECONDS} s\n"
             f"try:   target/release/tepui instance console {instance_id}")


def ask_doctor():
    """Ends the demo with what the doctor says unless it finds nothing."""
    asked = subprocess.run(["target/release/tepui", "doctor", "--problems"], capture_output=True, text=True)
    if asked.returncode != 0:
        sys.exit(f"error: the doctor is not content\n{asked.stdout}{asked.stderr}try:   target/release/tepui doctor")


def summarize(directory, instance, words, seconds):
    public = instance.get("PublicIpAddress", "none")
    print(f"\nInstance  {instance['InstanceId']}  ({instance['InstanceType']}, {instance['State']['Name']})")
    print(f"Address   {instance['PrivateIpAddress']}, public {public}")
    print("Console   " + "\n          ".join(words))
    print("Doctor    finds nothing wrong")
    print("Seconds   " + "\n          ".join(f"{value:8.1f}  {name}" for name, value in seconds))
    print(f"""
Next      . {directory}/env
          target/venv/bin/aws ec2 describe-instances
          target/release/tepui instance run debian-12 --name web --ssh
          target/release/tepui instance console demo
          make demo-down""")


main()
