-- Ids are 9-byte blobs (68 bits, big-endian, so their order is that of the text form; hex() shows
-- them), times are nanoseconds since 1970, IPv4 addresses are integers, flags are 0 or 1.

CREATE TABLE meta (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch INTEGER NOT NULL
) STRICT;
INSERT INTO meta (only_row, epoch) VALUES (1, 1);

-- The used_ columns count instances that are not terminated. instance_changes grows with every change
-- of a row that an instance is read from. Only triggers write them.
CREATE TABLE project (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    quota_instances INTEGER NOT NULL,
    quota_vcpus INTEGER NOT NULL,
    quota_memory_mib INTEGER NOT NULL,
    used_instances INTEGER NOT NULL DEFAULT 0 CHECK (used_instances >= 0),
    used_vcpus INTEGER NOT NULL DEFAULT 0 CHECK (used_vcpus >= 0),
    used_memory_mib INTEGER NOT NULL DEFAULT 0 CHECK (used_memory_mib >= 0),
    instance_changes INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE user (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    role TEXT NOT NULL CHECK (role IN ('administrator', 'member')),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE access_key (
    id TEXT PRIMARY KEY,
    user_id BLOB NOT NULL REFERENCES user,
    project_id INTEGER NOT NULL REFERENCES project,
    wrapped_secret BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX access_key_user ON access_key (user_id);
CREATE INDEX access_key_project ON access_key (project_id);

-- Outlives the projects and users it names. Refused calls have an index of their own, so that they stand
-- in the way of no listing of what was done.
CREATE TABLE audit (
    n INTEGER PRIMARY KEY,
    project_id INTEGER NOT NULL,
    user_id BLOB NOT NULL,
    at INTEGER NOT NULL,
    action TEXT NOT NULL,
    resources TEXT NOT NULL,
    outcome TEXT NOT NULL,
    request_id TEXT NOT NULL
) STRICT;
CREATE INDEX audit_done ON audit (project_id) WHERE outcome = 'ok';
CREATE INDEX audit_refused ON audit (project_id) WHERE outcome <> 'ok';
CREATE INDEX audit_at ON audit (at);

CREATE TABLE tag (
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    resource TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (project_id, resource, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE key_pair (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('ed25519', 'rsa')),
    fingerprint TEXT NOT NULL,
    public_key TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE image (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    digest BLOB NOT NULL,
    size_bytes INTEGER NOT NULL,
    login_user TEXT NOT NULL,
    public INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('available', 'deregistered')),
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX image_name ON image (project_id, name) WHERE state = 'available';

CREATE TABLE import_task (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    source TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('active', 'completed', 'failed')),
    message TEXT NOT NULL,
    progress INTEGER NOT NULL,
    image_id BLOB,
    created_at INTEGER NOT NULL,
    token TEXT,
    parameters_sha256 BLOB,
    CHECK ((token IS NULL) = (parameters_sha256 IS NULL))
) STRICT, WITHOUT ROWID;
CREATE INDEX import_task_project ON import_task (project_id);
CREATE UNIQUE INDEX import_task_token ON import_task (project_id, token) WHERE token IS NOT NULL;

-- generation counts the changes of the VPC's part. It lives here, not with the nodes that carry the
-- VPC, so that a node that leaves and comes back never sees an old number again.
CREATE TABLE vpc (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    cidr TEXT NOT NULL,
    vni INTEGER NOT NULL UNIQUE CHECK (vni BETWEEN 1 AND 16777215),
    is_default INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;
CREATE INDEX vpc_project ON vpc (project_id);

-- No address from the subnet's fifth up to lowest_free_ip is free, lowest_free_ip itself may be.
CREATE TABLE subnet (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    vpc_id BLOB NOT NULL REFERENCES vpc ON DELETE CASCADE,
    cidr TEXT NOT NULL,
    is_default INTEGER NOT NULL,
    map_public_ip INTEGER NOT NULL,
    lowest_free_ip INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX subnet_project ON subnet (project_id);
CREATE INDEX subnet_vpc ON subnet (vpc_id);

CREATE TABLE security_group (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    vpc_id BLOB NOT NULL REFERENCES vpc ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    UNIQUE (vpc_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX security_group_project ON security_group (project_id);

-- protocol is the JSON form of the contract's type.
CREATE TABLE security_group_rule (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    group_id BLOB NOT NULL REFERENCES security_group ON DELETE CASCADE,
    direction TEXT NOT NULL CHECK (direction IN ('ingress', 'egress')),
    protocol TEXT NOT NULL,
    peer_cidr TEXT,
    peer_group_id BLOB REFERENCES security_group,
    description TEXT,
    CHECK ((peer_cidr IS NULL) <> (peer_group_id IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX security_group_rule_same ON security_group_rule
    (group_id, direction, protocol, ifnull(peer_cidr, ''), ifnull(peer_group_id, x''));
CREATE INDEX security_group_rule_peer ON security_group_rule (peer_group_id);
CREATE INDEX security_group_rule_project ON security_group_rule (project_id);

-- The used_ columns are the sums over the node's placements. Only triggers write them.
CREATE TABLE node (
    id BLOB PRIMARY KEY,
    machine_uuid BLOB NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('up', 'unreachable', 'expunged')),
    schedulable INTEGER NOT NULL,
    underlay_address INTEGER NOT NULL,
    vcpus INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    disk_gib INTEGER NOT NULL,
    used_vcpus INTEGER NOT NULL DEFAULT 0 CHECK (used_vcpus >= 0),
    used_memory_mib INTEGER NOT NULL DEFAULT 0 CHECK (used_memory_mib >= 0),
    used_disk_gib INTEGER NOT NULL DEFAULT 0 CHECK (used_disk_gib >= 0),
    impaired TEXT,
    agent_version TEXT NOT NULL,
    certificate_sha256 BLOB,
    pending_certificate_sha256 BLOB,
    state_since INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;
-- A machine whose node was expunged enrols as a new node.
CREATE UNIQUE INDEX node_machine ON node (machine_uuid) WHERE state <> 'expunged';

CREATE TABLE join_token (
    secret_sha256 BLOB PRIMARY KEY,
    expires_at INTEGER NOT NULL,
    project_id INTEGER NOT NULL,
    user_id BLOB NOT NULL,
    used_by BLOB
) STRICT, WITHOUT ROWID;

CREATE TABLE placement_group (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    name TEXT NOT NULL,
    strategy TEXT NOT NULL CHECK (strategy IN ('spread', 'cluster')),
    created_at INTEGER NOT NULL,
    UNIQUE (project_id, name)
) STRICT, WITHOUT ROWID;

-- n is the order of launch. What belongs to one instance has n as its own key, so that reading a
-- project's instances walks each table once, in one direction.
-- Image and key pair may be deleted under an instance: it keeps copies, not references.
-- user_data comes last: the columns before it are read without following its overflow pages.
CREATE TABLE instance (
    n INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    reservation_id BLOB NOT NULL,
    launch_index INTEGER NOT NULL,
    image_id BLOB NOT NULL,
    image_digest BLOB NOT NULL,
    image_bytes INTEGER NOT NULL,
    instance_type TEXT NOT NULL,
    vcpus INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    key_name TEXT,
    public_key TEXT,
    vpc_id BLOB NOT NULL REFERENCES vpc,
    subnet_id BLOB NOT NULL REFERENCES subnet,
    placement_group_id BLOB REFERENCES placement_group,
    shutdown_behavior TEXT NOT NULL CHECK (shutdown_behavior IN ('stop', 'terminate')),
    disable_api_termination INTEGER NOT NULL,
    disable_api_stop INTEGER NOT NULL,
    metadata_enabled INTEGER NOT NULL,
    metadata_tokens_required INTEGER NOT NULL,
    metadata_hop_limit INTEGER NOT NULL,
    metadata_tags_enabled INTEGER NOT NULL,
    state TEXT NOT NULL CHECK
        (state IN ('pending', 'running', 'stopping', 'stopped', 'shutting-down', 'terminated')),
    state_reason_code TEXT,
    state_reason_message TEXT,
    state_reason_detail TEXT,
    state_since INTEGER NOT NULL,
    start_seq INTEGER NOT NULL,
    reboot_seq INTEGER NOT NULL,
    force INTEGER NOT NULL,
    launched_at INTEGER NOT NULL,
    user_data BLOB
) STRICT;
CREATE INDEX instance_project ON instance (project_id);
CREATE INDEX instance_reservation ON instance (reservation_id);
CREATE INDEX instance_placement_group ON instance (placement_group_id) WHERE placement_group_id IS NOT NULL;
CREATE INDEX instance_terminated ON instance (state_since) WHERE state = 'terminated';
CREATE INDEX instance_vpc ON instance (vpc_id);
CREATE INDEX instance_subnet ON instance (subnet_id);

-- vcpus, memory_mib and disk_gib are what the placement takes on its node at this moment.
CREATE TABLE placement (
    instance_n INTEGER NOT NULL REFERENCES instance ON DELETE CASCADE,
    id BLOB NOT NULL UNIQUE,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    node_id BLOB NOT NULL REFERENCES node,
    vcpus INTEGER NOT NULL,
    memory_mib INTEGER NOT NULL,
    disk_gib INTEGER NOT NULL,
    observed TEXT,
    gone_at INTEGER,
    PRIMARY KEY (instance_n, id),
    CHECK (gone_at IS NULL OR (vcpus = 0 AND memory_mib = 0 AND disk_gib = 0))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX placement_live ON placement (instance_n) WHERE gone_at IS NULL;
CREATE INDEX placement_node_live ON placement (node_id) WHERE gone_at IS NULL;

-- group_ids holds the security groups' ids in order, 9 bytes each.
CREATE TABLE interface (
    instance_n INTEGER PRIMARY KEY REFERENCES instance ON DELETE CASCADE,
    id BLOB NOT NULL UNIQUE,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    vpc_id BLOB NOT NULL REFERENCES vpc,
    subnet_id BLOB NOT NULL REFERENCES subnet,
    mac BLOB NOT NULL UNIQUE,
    private_ip INTEGER NOT NULL,
    public_ip INTEGER,
    group_ids BLOB NOT NULL,
    UNIQUE (vpc_id, private_ip)
) STRICT;
CREATE UNIQUE INDEX interface_public_ip ON interface (public_ip) WHERE public_ip IS NOT NULL;

-- For each pool of public addresses that there was, by its lowest: no address from there up to
-- lowest_free_ip is free, lowest_free_ip itself may be.
CREATE TABLE public_pool (
    lowest_ip INTEGER PRIMARY KEY,
    lowest_free_ip INTEGER NOT NULL
) STRICT;

CREATE TABLE root_volume (
    instance_n INTEGER PRIMARY KEY REFERENCES instance ON DELETE CASCADE,
    id BLOB NOT NULL UNIQUE,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    size_gib INTEGER NOT NULL,
    device TEXT NOT NULL,
    delete_on_termination INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE launch_token (
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    token TEXT NOT NULL,
    parameters_sha256 BLOB NOT NULL,
    reservation_id BLOB NOT NULL,
    used_at INTEGER NOT NULL,
    PRIMARY KEY (project_id, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX launch_token_used_at ON launch_token (used_at);

-- What an instance takes on its node follows its state and size. One that shuts down takes what it
-- took before: nothing when it was stopped.
CREATE TRIGGER instance_takes AFTER UPDATE OF state, vcpus, memory_mib ON instance
WHEN NEW.state <> 'shutting-down' BEGIN
    UPDATE placement SET
        vcpus = iif(NEW.state IN ('stopped', 'terminated'), 0, NEW.vcpus),
        memory_mib = iif(NEW.state IN ('stopped', 'terminated'), 0, NEW.memory_mib)
    WHERE instance_n = NEW.n AND gone_at IS NULL;
END;

-- A node's sums follow its placements.
CREATE TRIGGER placement_added AFTER INSERT ON placement BEGIN
    UPDATE node SET
        used_vcpus = used_vcpus + NEW.vcpus,
        used_memory_mib = used_memory_mib + NEW.memory_mib,
        used_disk_gib = used_disk_gib + NEW.disk_gib
    WHERE id = NEW.node_id;
END;
CREATE TRIGGER placement_changed AFTER UPDATE OF vcpus, memory_mib, disk_gib ON placement BEGIN
    UPDATE node SET
        used_vcpus = used_vcpus + NEW.vcpus - OLD.vcpus,
        used_memory_mib = used_memory_mib + NEW.memory_mib - OLD.memory_mib,
        used_disk_gib = used_disk_gib + NEW.disk_gib - OLD.disk_gib
    WHERE id = NEW.node_id;
END;
CREATE TRIGGER placement_removed AFTER DELETE ON placement BEGIN
    UPDATE node SET
        used_vcpus = used_vcpus - OLD.vcpus,
        used_memory_mib = used_memory_mib - OLD.memory_mib,
        used_disk_gib = used_disk_gib - OLD.disk_gib
    WHERE id = OLD.node_id;
END;
CREATE TRIGGER placement_stays BEFORE UPDATE OF node_id, instance_n ON placement BEGIN
    SELECT raise(ABORT, 'a placement never changes its node or instance');
END;

-- A project's sums follow its instances.
CREATE TRIGGER instance_added AFTER INSERT ON instance WHEN NEW.state <> 'terminated' BEGIN
    UPDATE project SET
        used_instances = used_instances + 1,
        used_vcpus = used_vcpus + NEW.vcpus,
        used_memory_mib = used_memory_mib + NEW.memory_mib
    WHERE id = NEW.project_id;
END;
CREATE TRIGGER instance_changed AFTER UPDATE OF state, vcpus, memory_mib ON instance BEGIN
    UPDATE project SET
        used_instances = used_instances + (NEW.state <> 'terminated') - (OLD.state <> 'terminated'),
        used_vcpus = used_vcpus
            + NEW.vcpus * (NEW.state <> 'terminated') - OLD.vcpus * (OLD.state <> 'terminated'),
        used_memory_mib = used_memory_mib
            + NEW.memory_mib * (NEW.state <> 'terminated') - OLD.memory_mib * (OLD.state <> 'terminated')
    WHERE id = NEW.project_id;
END;
CREATE TRIGGER instance_removed AFTER DELETE ON instance WHEN OLD.state <> 'terminated' BEGIN
    UPDATE project SET
        used_instances = used_instances - 1,
        used_vcpus = used_vcpus - OLD.vcpus,
        used_memory_mib = used_memory_mib - OLD.memory_mib
    WHERE id = OLD.project_id;
END;

-- A released address is free again.
CREATE TRIGGER interface_removed AFTER DELETE ON interface BEGIN
    UPDATE subnet SET lowest_free_ip = min(lowest_free_ip, OLD.private_ip) WHERE id = OLD.subnet_id;
    UPDATE public_pool SET lowest_free_ip = min(lowest_free_ip, OLD.public_ip)
    WHERE lowest_ip <= OLD.public_ip;
END;

-- Equal counts mean equal instances: readers keep a project's instances as long as its count stays.
CREATE TRIGGER instance_insert_counts AFTER INSERT ON instance BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER instance_update_counts AFTER UPDATE ON instance BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER instance_delete_counts AFTER DELETE ON instance BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = OLD.project_id;
END;
CREATE TRIGGER placement_insert_counts AFTER INSERT ON placement BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER placement_update_counts AFTER UPDATE ON placement BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER placement_delete_counts AFTER DELETE ON placement BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = OLD.project_id;
END;
CREATE TRIGGER interface_insert_counts AFTER INSERT ON interface BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER interface_update_counts AFTER UPDATE ON interface BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER interface_delete_counts AFTER DELETE ON interface BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = OLD.project_id;
END;
CREATE TRIGGER root_volume_insert_counts AFTER INSERT ON root_volume BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER root_volume_update_counts AFTER UPDATE ON root_volume BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER root_volume_delete_counts AFTER DELETE ON root_volume BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = OLD.project_id;
END;
CREATE TRIGGER tag_insert_counts AFTER INSERT ON tag
WHEN NEW.resource >= 'i-' AND NEW.resource < 'i.' BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER tag_update_counts AFTER UPDATE ON tag
WHEN NEW.resource >= 'i-' AND NEW.resource < 'i.' BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER tag_delete_counts AFTER DELETE ON tag
WHEN OLD.resource >= 'i-' AND OLD.resource < 'i.' BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = OLD.project_id;
END;
