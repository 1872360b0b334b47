"""A control plane with a hundred thousand instances: what it weighs, and how soon it answers after its start."""

import json
import os
import random
import sqlite3
import subprocess
import sys

from clouds import ROOT, moto, run
from control_plane import fill, run_parameters, whole
from fleet import absolute
from measure import line, timed
from planes import PROGRAMS, Plane, fleet, running, scratch
from weight import footprint
from wire import found

PROJECTS, EACH, HOSTS = 25, 4_000, 1_000
# Ten calls of each instance's owner, and each twentieth instance has all the user data that it may.
AUDITED, WITH_USER_DATA, USER_DATA = 10 * PROJECTS * EACH, 20, 16 << 10
STARTS = 7
# As the store reads an instance.
ROWS = """SELECT * FROM instance i LEFT JOIN placement p ON p.instance_n = i.n AND p.gone_at IS NULL
          LEFT JOIN interface f ON f.instance_n = i.n LEFT JOIN root_volume v ON v.instance_n = i.n"""
LOAD = f"import sqlite3, sys; print(len(sqlite3.connect(sys.argv[1]).execute('''{ROWS}''').fetchall()))"


def measure():
    with scratch() as folder:
        plane, identities = Plane(folder), folder / "hosts"
        with running(plane):
            run([PROGRAMS / "tepui-fleet", "--join-only", "--api-url", f"https://{plane.agents}", "--dir", identities,
                 "--count", HOSTS], env=plane.env)
            clients = people(plane)
        database = plane.data / "db.sqlite3"
        multiply(database)
        yield cold_start(plane, database)
        with running(plane), fleet(plane.agents, identities, HOSTS, plane.env) as hosts:
            hosts.wait(lambda state: state["back"] == HOSTS and state["guests"] == PROJECTS * EACH, 300)
            for client in clients:
                assert whole(client).count(b"<instanceId>") >= EACH
            yield weight(plane)


def people(plane):
    """Projects with one instance each; their clients."""
    image = ROOT / "target/images/tiny.qcow2"
    plane.tepui("image", "import", image, "--name", "tiny", "--login-user", "root", "--public")
    image = found("<imageId>(.*?)</imageId>", plane.wire.call("DescribeImages"))[0]
    clients = []
    for number in range(PROJECTS):
        project = f"project-{number}"
        plane.tepui("project", "create", project)
        user = f"user-{number}"
        plane.tepui("user", "create", user)
        key = json.loads(plane.tepui("key", "create", "--user", user, "--project", project, "--json"))
        client = plane.wire_of(key["access_key"]["id"], key["secret_access_key"])
        client.call("RunInstances", **run_parameters(image))
        clients.append(client)
    return clients


def multiply(database):
    """Makes of each project's instance as many as it shall have, row by row as a launch writes them."""
    with sqlite3.connect(database) as db:
        nodes = [row[0] for row in db.execute("SELECT id FROM node ORDER BY id")]
        db.execute("UPDATE instance SET state = 'running'")
        db.execute("UPDATE placement SET observed = 'running'")
        originals = db.execute("SELECT n, subnet_id FROM instance ORDER BY n").fetchall()
        share = len(nodes) // len(originals)
        for number, (n, subnet) in enumerate(originals):
            copy(db, n, nodes[number * share:(number + 1) * share])
            db.execute("UPDATE subnet SET lowest_free_ip = lowest_free_ip + ? WHERE id = ?", (EACH, subnet))
        audit(db, AUDITED)
        db.execute("UPDATE node SET generation = generation + 1")
        db.execute("UPDATE vpc SET generation = generation + 1")
    db.close()


def copy(db, original, nodes):
    rows = {name: row(db, name, key, original) for name, key in
            (("instance", "n"), ("placement", "instance_n"), ("interface", "instance_n"), ("root_volume", "instance_n"))}
    last = db.execute("SELECT max(n) FROM instance").fetchone()[0]
    for step in range(1, EACH):
        n = last + step
        data = os.urandom(USER_DATA) if step % WITH_USER_DATA == 0 else None
        insert(db, "instance", rows["instance"] | {"n": n, "id": new_id(), "reservation_id": new_id(), "user_data": data})
        insert(db, "placement", rows["placement"] | {"instance_n": n, "id": new_id(), "node_id": nodes[step % len(nodes)]})
        insert(db, "interface", rows["interface"] | {"instance_n": n, "id": new_id(), "mac": b"\x02" + os.urandom(5),
                                                     "private_ip": rows["interface"]["private_ip"] + step})
        insert(db, "root_volume", rows["root_volume"] | {"instance_n": n, "id": new_id()})


def audit(db, count):
    """Repeats the record of a launch."""
    db.execute("""WITH RECURSIVE step (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM step WHERE n < ?)
                  INSERT INTO audit (project_id, user_id, at, action, resources, outcome, request_id)
                  SELECT project_id, user_id, at, action, resources, outcome, request_id
                  FROM step, (SELECT * FROM audit WHERE action = 'RunInstances' LIMIT 1)""", (count,))


def row(db, table, key, value):
    cursor = db.execute(f"SELECT * FROM {table} WHERE {key} = ?", (value,))
    return dict(zip((column[0] for column in cursor.description), cursor.fetchone()))


def insert(db, table, values):
    marks = ",".join("?" * len(values))
    db.execute(f"INSERT INTO {table} ({','.join(values)}) VALUES ({marks})", list(values.values()))


def new_id():
    """68 bits in nine bytes."""
    return bytes([random.randrange(16)]) + os.urandom(8)


def cold_start(plane, database):
    found = []
    for _ in range(STARTS):
        mine = plane.start()
        plane.kill()
        found.append((mine, timed(lambda: bare_load(database), lambda: None, lambda reply: None)))
    measured = line("M15s", f"{PROJECTS * EACH:,} instances: exec to the first authenticated answer",
                    "a program that loads the same rows", found)
    seconds = sorted(mine for mine, _ in found)[len(found) // 2]
    measured.goal, measured.met = "≤ 1 s", max(mine for mine, _ in found) <= 1
    measured.note = f"median {seconds:.3f} s; the goal is for the slowest of {STARTS}"
    return measured


def bare_load(database):
    done = subprocess.run([sys.executable, "-c", LOAD, str(database)], capture_output=True, text=True, check=True)
    assert int(done.stdout) == PROJECTS * EACH, done.stdout


def weight(plane):
    ours = plane.footprint()
    with moto() as rival:
        fill(rival, rival.image, 5_000)
        theirs = footprint(rival.pid)
    measured = absolute("M15m", f"{PROJECTS * EACH:,} instances on {HOSTS:,} hosts, all listed: memory of the control plane",
                        ours.resident, "MiB", 512, str(ours))
    measured.rival, measured.theirs = "moto server with 5,000", f"{theirs.resident:.1f} MiB"
    return measured
