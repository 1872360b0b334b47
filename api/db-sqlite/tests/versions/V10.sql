CREATE TABLE refinery_schema_history(
             version int4 PRIMARY KEY,
             name VARCHAR(255),
             applied_on VARCHAR(255),
             checksum VARCHAR(255));
CREATE TABLE meta (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch INTEGER NOT NULL
) STRICT;
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
, quota_volumes INTEGER NOT NULL DEFAULT 5000, quota_volume_gib INTEGER NOT NULL DEFAULT 51200, used_volumes INTEGER NOT NULL DEFAULT 0 CHECK (used_volumes >= 0), used_volume_gib INTEGER NOT NULL DEFAULT 0 CHECK (used_volume_gib >= 0)) STRICT;
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
CREATE TABLE vpc (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    cidr TEXT NOT NULL,
    vni INTEGER NOT NULL UNIQUE CHECK (vni BETWEEN 1 AND 16777215),
    is_default INTEGER NOT NULL,
    generation INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;
CREATE TABLE subnet (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    vpc_id BLOB NOT NULL REFERENCES vpc ON DELETE CASCADE,
    cidr TEXT NOT NULL,
    is_default INTEGER NOT NULL,
    map_public_ip INTEGER NOT NULL,
    lowest_free_ip INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE security_group (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    vpc_id BLOB NOT NULL REFERENCES vpc ON DELETE CASCADE,
    name TEXT NOT NULL,
    description TEXT NOT NULL,
    UNIQUE (vpc_id, name)
) STRICT, WITHOUT ROWID;
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
, volume_root INTEGER NOT NULL DEFAULT 0, scratch_gib INTEGER NOT NULL DEFAULT 0, swap_gib INTEGER NOT NULL DEFAULT 0) STRICT;
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
CREATE TABLE storage_host (
    node_id BLOB PRIMARY KEY REFERENCES node,
    generation INTEGER NOT NULL DEFAULT 1
) STRICT, WITHOUT ROWID;
CREATE TABLE pool (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    class TEXT NOT NULL,
    backend TEXT NOT NULL CHECK (backend IN ('iscsi', 'nfs', 'local')),
    node_id BLOB NOT NULL REFERENCES storage_host,
    path TEXT NOT NULL,
    soft_percent INTEGER NOT NULL CHECK (soft_percent BETWEEN 1 AND 100),
    hard_percent INTEGER NOT NULL CHECK (hard_percent BETWEEN soft_percent AND 100),
    draining INTEGER NOT NULL,
    created_at INTEGER NOT NULL, moves_out INTEGER NOT NULL DEFAULT 0 CHECK (moves_out IN (0, 1)), filer TEXT,
    UNIQUE (node_id, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project,
    pool_id BLOB NOT NULL REFERENCES pool,
    volume_id BLOB NOT NULL,
    size_gib INTEGER NOT NULL,
    description TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'completed', 'deleting', 'error')),
    message TEXT,
    created_at INTEGER NOT NULL
, copy_of BLOB, copy_pool_id BLOB CHECK ((copy_pool_id IS NULL) = (copy_of IS NULL)), public INTEGER NOT NULL DEFAULT 0, schedule_id BLOB, freeze TEXT CHECK (freeze IN ('waiting', 'taking', 'taken', 'held')), freeze_id BLOB, image_digest BLOB, image_bytes INTEGER, of_move INTEGER NOT NULL DEFAULT 0 CHECK (of_move IN (0, 1)), root_of BLOB, freeze_kind TEXT NOT NULL DEFAULT 'file_systems'
    CHECK (freeze_kind IN ('file_systems', 'vcpus'))) STRICT, WITHOUT ROWID;
CREATE TABLE volume (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project,
    pool_id BLOB NOT NULL REFERENCES pool,
    size_gib INTEGER NOT NULL CHECK (size_gib > 0),
    actual_gib INTEGER NOT NULL,
    snapshot_id BLOB,
    state TEXT NOT NULL CHECK (state IN ('creating', 'available', 'deleting', 'error')),
    message TEXT,
    created_at INTEGER NOT NULL,
    token TEXT,
    parameters_sha256 BLOB, iops INTEGER NOT NULL DEFAULT 0 CHECK (iops >= 0), throughput_mib INTEGER NOT NULL DEFAULT 0 CHECK (throughput_mib >= 0), image_digest BLOB, image_bytes INTEGER, read_only INTEGER NOT NULL DEFAULT 0 CHECK (read_only IN (0, 1)),
    CHECK ((token IS NULL) = (parameters_sha256 IS NULL))
) STRICT, WITHOUT ROWID;
CREATE TABLE volume_modification (
    volume_id BLOB PRIMARY KEY REFERENCES volume ON DELETE CASCADE,
    original_gib INTEGER NOT NULL,
    target_gib INTEGER NOT NULL CHECK (target_gib >= original_gib),
    original_iops INTEGER NOT NULL,
    target_iops INTEGER NOT NULL,
    original_throughput_mib INTEGER NOT NULL,
    target_throughput_mib INTEGER NOT NULL,
    started_at INTEGER NOT NULL,
    ended_at INTEGER
, original_read_only INTEGER NOT NULL DEFAULT 0, target_read_only INTEGER NOT NULL DEFAULT 0) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot_share (
    snapshot_id BLOB NOT NULL REFERENCES snapshot ON DELETE CASCADE,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    PRIMARY KEY (snapshot_id, project_id)
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot_schedule (
    id BLOB PRIMARY KEY,
    project_id INTEGER NOT NULL REFERENCES project ON DELETE CASCADE,
    tag_key TEXT NOT NULL,
    tag_value TEXT NOT NULL,
    every_seconds INTEGER NOT NULL CHECK (every_seconds > 0),
    keep INTEGER NOT NULL CHECK (keep > 0),
    next_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL
, test_seconds INTEGER CHECK (test_seconds >= every_seconds), test_at INTEGER CHECK ((test_at IS NULL) = (test_seconds IS NULL)), tested_at INTEGER, freeze INTEGER NOT NULL DEFAULT 0 CHECK (freeze IN (0, 1)), freeze_failure TEXT) STRICT, WITHOUT ROWID;
CREATE TABLE volume_end (
    volume_id BLOB PRIMARY KEY REFERENCES volume ON DELETE CASCADE,
    at INTEGER NOT NULL,
    warns_at INTEGER NOT NULL CHECK (warns_at <= at),
    warned_seconds INTEGER CHECK (warned_seconds >= 0),
    set_by BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE "attachment" (
    id BLOB PRIMARY KEY,
    volume_id BLOB NOT NULL,
    read_only INTEGER NOT NULL,
    project_id INTEGER NOT NULL REFERENCES project,
    instance_n INTEGER NOT NULL REFERENCES instance,
    device TEXT NOT NULL,
    delete_on_termination INTEGER NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('attaching', 'attached', 'detaching')),
    since INTEGER NOT NULL,
    export_id BLOB NOT NULL UNIQUE,
    placement_id BLOB NOT NULL,
    wrapped_secret BLOB NOT NULL,
    export_state TEXT NOT NULL CHECK (export_state IN ('making', 'open', 'closing', 'closed')),
    source TEXT,
    message TEXT,
    guest_gib INTEGER NOT NULL DEFAULT 0,
    guest_iops INTEGER NOT NULL DEFAULT 0,
    guest_throughput_mib INTEGER NOT NULL DEFAULT 0,
    is_root INTEGER NOT NULL DEFAULT 0,
    FOREIGN KEY (volume_id, read_only) REFERENCES volume (id, read_only),
    CHECK (NOT (is_root AND read_only))
) STRICT, WITHOUT ROWID;
CREATE TABLE freeze (
    id BLOB PRIMARY KEY,
    placement_id BLOB NOT NULL UNIQUE REFERENCES placement (id) ON DELETE CASCADE,
    stage TEXT NOT NULL CHECK (stage IN ('freezing', 'frozen', 'thawing')),
    asked_at INTEGER NOT NULL
, kind TEXT NOT NULL DEFAULT 'file_systems' CHECK (kind IN ('file_systems', 'vcpus'))) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot_test (
    id BLOB PRIMARY KEY,
    snapshot_id BLOB NOT NULL UNIQUE REFERENCES snapshot ON DELETE CASCADE,
    ordered_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE snapshot_tested (
    snapshot_id BLOB PRIMARY KEY REFERENCES snapshot ON DELETE CASCADE,
    tested_at INTEGER NOT NULL,
    digest BLOB,
    failure TEXT,
    CHECK (digest IS NOT NULL OR failure IS NOT NULL)
) STRICT, WITHOUT ROWID;
CREATE TABLE volume_move (
    volume_id BLOB PRIMARY KEY REFERENCES volume,
    from_pool BLOB NOT NULL REFERENCES pool,
    to_pool BLOB NOT NULL REFERENCES pool,
    stage TEXT NOT NULL CHECK (stage IN ('copying', 'leaving', 'arriving', 'failed')),
    source_id BLOB NOT NULL UNIQUE,
    target_id BLOB NOT NULL UNIQUE,
    by_drain INTEGER NOT NULL,
    since INTEGER NOT NULL,
    message TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE "quarantine" (
    id TEXT NOT NULL,
    pool_id BLOB NOT NULL REFERENCES pool,
    project_id INTEGER,
    removed_at INTEGER NOT NULL,
    ordered INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (id, pool_id)
) STRICT, WITHOUT ROWID;
INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (1, 'initial', '2026-11-29T04:41:06.340886962Z', '12820139916956956954');
INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (2, 'volumes', '2026-11-29T04:41:06.340902225Z', '12511328473177767873');
INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (3, 'volume_modifications', '2026-11-29T04:41:06.340904609Z', '10588411692588079445');
INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (4, 'volume_limits', '2026-11-29T04:41:06.340906772Z', '8290633579513034437');
INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (5, 'snapshots', '2026-11-29T04:41:06.340909035Z', '5711734759943458662');
INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (6, 'volume_roots', '2026-11-29T04:41:06.340911289Z', '17892248927013283717');
INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (7, 'more_of_volumes', '2026-11-29T04:41:06.340913642Z', '3373290211136577516');
INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (8, 'more_of_snapshots', '2026-11-29T04:41:06.340916336Z', '3236900040810086781');
INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (9, 'filers', '2026-11-29T04:41:06.340918639Z', '14770865394475010955');
INSERT INTO refinery_schema_history (version, name, applied_on, checksum) VALUES (10, 'paused_guests', '2026-11-29T04:41:06.340920893Z', '17277035750087481496');
INSERT INTO meta (only_row, epoch) VALUES (1, 1);
INSERT INTO project (id, name, quota_instances, quota_vcpus, quota_memory_mib, used_instances, used_vcpus, used_memory_mib, instance_changes, created_at, quota_volumes, quota_volume_gib, used_volumes, used_volume_gib) VALUES (100000000001, 'alpha', 1000, 1000, 1000000, 3, 3, 1536, 43, 1800000006000000000, 5000, 51200, 4, 15);
INSERT INTO project (id, name, quota_instances, quota_vcpus, quota_memory_mib, used_instances, used_vcpus, used_memory_mib, instance_changes, created_at, quota_volumes, quota_volume_gib, used_volumes, used_volume_gib) VALUES (100000000008, 'beta', 1000, 1000, 1000000, 1, 1, 512, 20, 1800000013000000000, 5000, 51200, 0, 0);
INSERT INTO user (id, name, role, created_at) VALUES (X'00000000000000004A', 'ann', 'member', 1800000075000000000);
INSERT INTO access_key (id, user_id, project_id, wrapped_secret, created_at) VALUES ('TPAKA', X'00000000000000004A', 100000000001, X'010203', 1800000076000000000);
INSERT INTO audit (n, project_id, user_id, at, action, resources, outcome, request_id) VALUES (1, 100000000001, X'00000000000000004A', 1800000085000000000, 'RunInstances', 'i-00000000000000017', 'ok', 'r');
INSERT INTO tag (project_id, resource, key, value) VALUES (100000000001, 'i-00000000000000017', 'Name', 'it''s "quoted"');
INSERT INTO tag (project_id, resource, key, value) VALUES (100000000001, 'i-00000000000000021', 'Name', 'it''s "quoted"');
INSERT INTO tag (project_id, resource, key, value) VALUES (100000000001, 'i-0000000000000002c', 'Name', 'it''s "quoted"');
INSERT INTO tag (project_id, resource, key, value) VALUES (100000000001, 'key-0000000000000004d', 'Name', 'it''s "quoted"');
INSERT INTO tag (project_id, resource, key, value) VALUES (100000000001, 'vol-00000000000000058', 'Name', 'data');
INSERT INTO key_pair (id, project_id, name, kind, fingerprint, public_key, created_at) VALUES (X'00000000000000004D', 100000000001, 'key', 'ed25519', 'SHA256:x', 'ssh-ed25519 AAAA', 1800000078000000000);
INSERT INTO image (id, project_id, name, description, digest, size_bytes, login_user, public, state, created_at) VALUES (X'000000000000000005', 100000000001, 'debian', 'for tests', X'81D93757457F988523814AE0009837AE893F38D3FE123F2C37896F118B4C7804', 1073741824, 'debian', 0, 'available', 1800000007000000000);
INSERT INTO image (id, project_id, name, description, digest, size_bytes, login_user, public, state, created_at) VALUES (X'00000000000000000C', 100000000008, 'debian', 'for tests', X'81D93757457F988523814AE0009837AE893F38D3FE123F2C37896F118B4C7804', 1073741824, 'debian', 0, 'available', 1800000014000000000);
INSERT INTO import_task (id, project_id, name, description, source, state, message, progress, image_id, created_at, token, parameters_sha256) VALUES (X'000000000000000053', 100000000001, 'imported', '', 'disk.qcow2', 'failed', 'refused', 0, NULL, 1800000084000000000, 't', X'0101010101010101010101010101010101010101010101010101010101010101');
INSERT INTO vpc (id, project_id, cidr, vni, is_default, generation) VALUES (X'000000000000000002', 100000000001, '172.31.0.0/16', 1, 1, 5);
INSERT INTO vpc (id, project_id, cidr, vni, is_default, generation) VALUES (X'000000000000000009', 100000000008, '172.31.0.0/16', 2, 1, 4);
INSERT INTO subnet (id, project_id, vpc_id, cidr, is_default, map_public_ip, lowest_free_ip) VALUES (X'000000000000000003', 100000000001, X'000000000000000002', '172.31.0.0/20', 1, 1, 2887712774);
INSERT INTO subnet (id, project_id, vpc_id, cidr, is_default, map_public_ip, lowest_free_ip) VALUES (X'00000000000000000A', 100000000008, X'000000000000000009', '172.31.0.0/20', 1, 1, 2887712772);
INSERT INTO security_group (id, project_id, vpc_id, name, description) VALUES (X'000000000000000004', 100000000001, X'000000000000000002', 'default', 'default group');
INSERT INTO security_group (id, project_id, vpc_id, name, description) VALUES (X'00000000000000000B', 100000000008, X'000000000000000009', 'default', 'default group');
INSERT INTO security_group_rule (id, project_id, group_id, direction, protocol, peer_cidr, peer_group_id, description) VALUES (X'000000000000000051', 100000000001, X'000000000000000004', 'ingress', '{"name":"all"}', NULL, X'000000000000000004', NULL);
INSERT INTO security_group_rule (id, project_id, group_id, direction, protocol, peer_cidr, peer_group_id, description) VALUES (X'000000000000000052', 100000000001, X'000000000000000004', 'ingress', '{"name":"all"}', '0.0.0.0/0', NULL, NULL);
INSERT INTO node (id, machine_uuid, name, state, schedulable, underlay_address, vcpus, memory_mib, disk_gib, used_vcpus, used_memory_mib, used_disk_gib, impaired, agent_version, certificate_sha256, pending_certificate_sha256, state_since, created_at, generation) VALUES (X'00000000000000000F', X'0000000000000000000000000000000F', 'node-15', 'up', 1, 167772175, 8, 8192, 100, 3, 1536, 54, NULL, '', NULL, NULL, 1800000016000000000, 1800000016000000000, 20);
INSERT INTO join_token (secret_sha256, expires_at, project_id, user_id, used_by) VALUES (X'51715F0F43F49E9C9A4DE579B8C130B7964D10CA5BF7AD6A98ED70CB0DC260F3', 1900000000000000000, 100000000001, X'000000000000000002', X'0000000000000000000000000000000F');
INSERT INTO placement_group (id, project_id, name, strategy, created_at) VALUES (X'00000000000000004F', 100000000001, 'apart', 'spread', 1800000080000000000);
INSERT INTO instance (n, id, project_id, reservation_id, launch_index, image_id, image_digest, image_bytes, instance_type, vcpus, memory_mib, key_name, public_key, vpc_id, subnet_id, placement_group_id, shutdown_behavior, disable_api_termination, disable_api_stop, metadata_enabled, metadata_tokens_required, metadata_hop_limit, metadata_tags_enabled, state, state_reason_code, state_reason_message, state_reason_detail, state_since, start_seq, reboot_seq, force, launched_at, user_data, volume_root, scratch_gib, swap_gib) VALUES (1, X'000000000000000017', 100000000001, X'000000000000000019', 0, X'000000000000000005', X'81D93757457F988523814AE0009837AE893F38D3FE123F2C37896F118B4C7804', 1073741824, 't3.micro', 1, 512, NULL, 'ssh-ed25519 AAAA', X'000000000000000002', X'000000000000000003', NULL, 'stop', 0, 0, 1, 1, 2, 0, 'pending', NULL, NULL, NULL, 1800000022000000000, 1, 0, 0, 1800000022000000000, X'23212F62696E2F7368', 0, 20, 2);
INSERT INTO instance (n, id, project_id, reservation_id, launch_index, image_id, image_digest, image_bytes, instance_type, vcpus, memory_mib, key_name, public_key, vpc_id, subnet_id, placement_group_id, shutdown_behavior, disable_api_termination, disable_api_stop, metadata_enabled, metadata_tokens_required, metadata_hop_limit, metadata_tags_enabled, state, state_reason_code, state_reason_message, state_reason_detail, state_since, start_seq, reboot_seq, force, launched_at, user_data, volume_root, scratch_gib, swap_gib) VALUES (2, X'000000000000000021', 100000000001, X'000000000000000023', 0, X'000000000000000005', X'81D93757457F988523814AE0009837AE893F38D3FE123F2C37896F118B4C7804', 1073741824, 't3.micro', 1, 512, NULL, 'ssh-ed25519 AAAA', X'000000000000000002', X'000000000000000003', NULL, 'stop', 0, 0, 1, 1, 2, 0, 'running', NULL, NULL, NULL, 1800000037000000000, 1, 0, 0, 1800000032000000000, X'23212F62696E2F7368', 0, 0, 0);
INSERT INTO instance (n, id, project_id, reservation_id, launch_index, image_id, image_digest, image_bytes, instance_type, vcpus, memory_mib, key_name, public_key, vpc_id, subnet_id, placement_group_id, shutdown_behavior, disable_api_termination, disable_api_stop, metadata_enabled, metadata_tokens_required, metadata_hop_limit, metadata_tags_enabled, state, state_reason_code, state_reason_message, state_reason_detail, state_since, start_seq, reboot_seq, force, launched_at, user_data, volume_root, scratch_gib, swap_gib) VALUES (3, X'00000000000000002C', 100000000001, X'00000000000000002E', 0, X'000000000000000005', X'81D93757457F988523814AE0009837AE893F38D3FE123F2C37896F118B4C7804', 1073741824, 't3.micro', 1, 512, NULL, 'ssh-ed25519 AAAA', X'000000000000000002', X'000000000000000003', NULL, 'stop', 0, 0, 1, 1, 2, 0, 'stopped', 'Client.UserInitiatedShutdown', 'Client.UserInitiatedShutdown: User initiated shutdown', NULL, 1800000050000000000, 1, 0, 0, 1800000043000000000, X'23212F62696E2F7368', 0, 0, 0);
INSERT INTO instance (n, id, project_id, reservation_id, launch_index, image_id, image_digest, image_bytes, instance_type, vcpus, memory_mib, key_name, public_key, vpc_id, subnet_id, placement_group_id, shutdown_behavior, disable_api_termination, disable_api_stop, metadata_enabled, metadata_tokens_required, metadata_hop_limit, metadata_tags_enabled, state, state_reason_code, state_reason_message, state_reason_detail, state_since, start_seq, reboot_seq, force, launched_at, user_data, volume_root, scratch_gib, swap_gib) VALUES (4, X'000000000000000039', 100000000008, X'00000000000000003B', 0, X'00000000000000000C', X'81D93757457F988523814AE0009837AE893F38D3FE123F2C37896F118B4C7804', 1073741824, 't3.micro', 1, 512, NULL, 'ssh-ed25519 AAAA', X'000000000000000009', X'00000000000000000A', NULL, 'stop', 0, 0, 1, 1, 2, 0, 'terminated', 'Client.UserInitiatedShutdown', 'Client.UserInitiatedShutdown: User initiated shutdown', NULL, 1800000063000000000, 1, 0, 0, 1800000056000000000, X'23212F62696E2F7368', 0, 0, 0);
INSERT INTO instance (n, id, project_id, reservation_id, launch_index, image_id, image_digest, image_bytes, instance_type, vcpus, memory_mib, key_name, public_key, vpc_id, subnet_id, placement_group_id, shutdown_behavior, disable_api_termination, disable_api_stop, metadata_enabled, metadata_tokens_required, metadata_hop_limit, metadata_tags_enabled, state, state_reason_code, state_reason_message, state_reason_detail, state_since, start_seq, reboot_seq, force, launched_at, user_data, volume_root, scratch_gib, swap_gib) VALUES (5, X'000000000000000046', 100000000008, X'000000000000000048', 0, X'00000000000000000C', X'81D93757457F988523814AE0009837AE893F38D3FE123F2C37896F118B4C7804', 1073741824, 't3.micro', 1, 512, NULL, 'ssh-ed25519 AAAA', X'000000000000000009', X'00000000000000000A', NULL, 'stop', 0, 0, 1, 1, 2, 0, 'pending', NULL, NULL, NULL, 1800000069000000000, 1, 0, 0, 1800000069000000000, X'23212F62696E2F7368', 0, 0, 0);
INSERT INTO placement (instance_n, id, project_id, node_id, vcpus, memory_mib, disk_gib, observed, gone_at) VALUES (1, X'000000000000000015', 100000000001, X'00000000000000000F', 1, 512, 30, NULL, NULL);
INSERT INTO placement (instance_n, id, project_id, node_id, vcpus, memory_mib, disk_gib, observed, gone_at) VALUES (2, X'00000000000000001F', 100000000001, X'00000000000000000F', 1, 512, 8, 'Running', NULL);
INSERT INTO placement (instance_n, id, project_id, node_id, vcpus, memory_mib, disk_gib, observed, gone_at) VALUES (3, X'00000000000000002A', 100000000001, X'00000000000000000F', 0, 0, 8, 'Stopped', NULL);
INSERT INTO placement (instance_n, id, project_id, node_id, vcpus, memory_mib, disk_gib, observed, gone_at) VALUES (4, X'000000000000000037', 100000000008, X'00000000000000000F', 0, 0, 0, 'Terminated', 1800000063000000000);
INSERT INTO placement (instance_n, id, project_id, node_id, vcpus, memory_mib, disk_gib, observed, gone_at) VALUES (5, X'000000000000000044', 100000000008, X'00000000000000000F', 1, 512, 8, NULL, NULL);
INSERT INTO interface (instance_n, id, project_id, vpc_id, subnet_id, mac, private_ip, public_ip, group_ids) VALUES (1, X'000000000000000011', 100000000001, X'000000000000000002', X'000000000000000003', X'021200000000', 2887712772, 3323068417, X'000000000000000004');
INSERT INTO interface (instance_n, id, project_id, vpc_id, subnet_id, mac, private_ip, public_ip, group_ids) VALUES (2, X'00000000000000001B', 100000000001, X'000000000000000002', X'000000000000000003', X'021C00000000', 2887712773, NULL, X'000000000000000004');
INSERT INTO interface (instance_n, id, project_id, vpc_id, subnet_id, mac, private_ip, public_ip, group_ids) VALUES (3, X'000000000000000026', 100000000001, X'000000000000000002', X'000000000000000003', X'022700000000', 2887712774, NULL, X'000000000000000004');
INSERT INTO interface (instance_n, id, project_id, vpc_id, subnet_id, mac, private_ip, public_ip, group_ids) VALUES (5, X'000000000000000040', 100000000008, X'000000000000000009', X'00000000000000000A', X'024100000000', 2887712772, NULL, X'00000000000000000B');
INSERT INTO public_pool (lowest_ip, lowest_free_ip) VALUES (3323068417, 3323068417);
INSERT INTO root_volume (instance_n, id, project_id, size_gib, device, delete_on_termination, created_at) VALUES (1, X'000000000000000013', 100000000001, 8, '/dev/sda1', 1, 1800000020000000000);
INSERT INTO root_volume (instance_n, id, project_id, size_gib, device, delete_on_termination, created_at) VALUES (2, X'00000000000000001D', 100000000001, 8, '/dev/sda1', 1, 1800000030000000000);
INSERT INTO root_volume (instance_n, id, project_id, size_gib, device, delete_on_termination, created_at) VALUES (3, X'000000000000000028', 100000000001, 8, '/dev/sda1', 1, 1800000041000000000);
INSERT INTO root_volume (instance_n, id, project_id, size_gib, device, delete_on_termination, created_at) VALUES (5, X'000000000000000042', 100000000008, 8, '/dev/sda1', 1, 1800000067000000000);
INSERT INTO launch_token (project_id, token, parameters_sha256, reservation_id, used_at) VALUES (100000000008, 't', X'0101010101010101010101010101010101010101010101010101010101010101', X'000000000000000048', 1800000073000000000);
INSERT INTO storage_host (node_id, generation) VALUES (X'00000000000000000F', 25);
INSERT INTO pool (id, name, class, backend, node_id, path, soft_percent, hard_percent, draining, created_at, moves_out, filer) VALUES (X'000000000000000056', 'fast', 'gp3', 'nfs', X'00000000000000000F', '/srv/fast', 80, 90, 0, 1800000087000000000, 0, '10.0.0.9:/export/fast');
INSERT INTO pool (id, name, class, backend, node_id, path, soft_percent, hard_percent, draining, created_at, moves_out, filer) VALUES (X'000000000000000081', 'fast-2', 'gp3', 'nfs', X'00000000000000000F', '/srv/fast-2', 80, 90, 0, 1800000087000000000, 0, '10.0.0.9:/export/fast');
INSERT INTO snapshot (id, project_id, pool_id, volume_id, size_gib, description, state, message, created_at, copy_of, copy_pool_id, public, schedule_id, freeze, freeze_id, image_digest, image_bytes, of_move, root_of, freeze_kind) VALUES (X'00000000000000005F', 100000000001, X'000000000000000056', X'000000000000000058', 4, 'still', 'error', 'no agent', 1800000096000000000, NULL, NULL, 0, NULL, 'waiting', NULL, NULL, NULL, 0, NULL, 'file_systems');
INSERT INTO snapshot (id, project_id, pool_id, volume_id, size_gib, description, state, message, created_at, copy_of, copy_pool_id, public, schedule_id, freeze, freeze_id, image_digest, image_bytes, of_move, root_of, freeze_kind) VALUES (X'00000000000000006A', 100000000001, X'000000000000000056', X'000000000000000058', 4, 'of one moment', 'pending', NULL, 1800000096000000000, NULL, NULL, 0, NULL, 'waiting', X'00000000000000006C', NULL, NULL, 0, NULL, 'vcpus');
INSERT INTO snapshot (id, project_id, pool_id, volume_id, size_gib, description, state, message, created_at, copy_of, copy_pool_id, public, schedule_id, freeze, freeze_id, image_digest, image_bytes, of_move, root_of, freeze_kind) VALUES (X'00000000000000006B', 100000000001, X'000000000000000056', X'000000000000000064', 4, 'of one moment', 'pending', NULL, 1800000096000000000, NULL, NULL, 0, NULL, 'waiting', X'00000000000000006C', NULL, NULL, 0, NULL, 'vcpus');
INSERT INTO snapshot (id, project_id, pool_id, volume_id, size_gib, description, state, message, created_at, copy_of, copy_pool_id, public, schedule_id, freeze, freeze_id, image_digest, image_bytes, of_move, root_of, freeze_kind) VALUES (X'00000000000000006E', 100000000001, X'000000000000000056', X'000000000000000058', 4, 'nightly', 'completed', NULL, 1800000111000000000, NULL, NULL, 1, NULL, NULL, NULL, NULL, NULL, 0, NULL, 'file_systems');
INSERT INTO snapshot (id, project_id, pool_id, volume_id, size_gib, description, state, message, created_at, copy_of, copy_pool_id, public, schedule_id, freeze, freeze_id, image_digest, image_bytes, of_move, root_of, freeze_kind) VALUES (X'000000000000000071', 100000000001, X'000000000000000056', X'0FFFFFFFFFFFFFFFFF', 4, 'nightly', 'pending', NULL, 1800000111000000000, X'00000000000000006E', X'000000000000000056', 0, NULL, NULL, NULL, NULL, NULL, 0, NULL, 'file_systems');
INSERT INTO snapshot (id, project_id, pool_id, volume_id, size_gib, description, state, message, created_at, copy_of, copy_pool_id, public, schedule_id, freeze, freeze_id, image_digest, image_bytes, of_move, root_of, freeze_kind) VALUES (X'000000000000000072', 100000000001, X'000000000000000056', X'0FFFFFFFFFFFFFFFFF', 1, 'nightly', 'pending', NULL, 1800000111000000000, NULL, NULL, 0, NULL, NULL, NULL, X'81D93757457F988523814AE0009837AE893F38D3FE123F2C37896F118B4C7804', 1073741824, 0, NULL, 'file_systems');
INSERT INTO snapshot (id, project_id, pool_id, volume_id, size_gib, description, state, message, created_at, copy_of, copy_pool_id, public, schedule_id, freeze, freeze_id, image_digest, image_bytes, of_move, root_of, freeze_kind) VALUES (X'000000000000000073', 100000000001, X'000000000000000056', X'00000000000000001D', 8, 'nightly', 'pending', NULL, 1800000111000000000, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, 0, X'00000000000000001F', 'file_systems');
INSERT INTO snapshot (id, project_id, pool_id, volume_id, size_gib, description, state, message, created_at, copy_of, copy_pool_id, public, schedule_id, freeze, freeze_id, image_digest, image_bytes, of_move, root_of, freeze_kind) VALUES (X'000000000000000084', 100000000001, X'000000000000000056', X'000000000000000082', 4, '', 'pending', NULL, 1800000134000000000, NULL, NULL, 0, NULL, NULL, NULL, NULL, NULL, 1, NULL, 'file_systems');
INSERT INTO volume (id, project_id, pool_id, size_gib, actual_gib, snapshot_id, state, message, created_at, token, parameters_sha256, iops, throughput_mib, image_digest, image_bytes, read_only) VALUES (X'000000000000000058', 100000000001, X'000000000000000056', 6, 4, NULL, 'available', NULL, 1800000089000000000, 't', X'0101010101010101010101010101010101010101010101010101010101010101', 200, 10, NULL, NULL, 0);
INSERT INTO volume (id, project_id, pool_id, size_gib, actual_gib, snapshot_id, state, message, created_at, token, parameters_sha256, iops, throughput_mib, image_digest, image_bytes, read_only) VALUES (X'000000000000000064', 100000000001, X'000000000000000056', 4, 4, NULL, 'available', NULL, 1800000089000000000, NULL, NULL, 100, 0, NULL, NULL, 0);
INSERT INTO volume (id, project_id, pool_id, size_gib, actual_gib, snapshot_id, state, message, created_at, token, parameters_sha256, iops, throughput_mib, image_digest, image_bytes, read_only) VALUES (X'000000000000000082', 100000000001, X'000000000000000056', 4, 4, NULL, 'available', NULL, 1800000089000000000, NULL, NULL, 100, 0, NULL, NULL, 0);
INSERT INTO volume (id, project_id, pool_id, size_gib, actual_gib, snapshot_id, state, message, created_at, token, parameters_sha256, iops, throughput_mib, image_digest, image_bytes, read_only) VALUES (X'000000000000000087', 100000000001, X'000000000000000056', 1, 1, NULL, 'available', NULL, 1800000136000000000, NULL, NULL, 0, 0, NULL, NULL, 1);
INSERT INTO volume_modification (volume_id, original_gib, target_gib, original_iops, target_iops, original_throughput_mib, target_throughput_mib, started_at, ended_at, original_read_only, target_read_only) VALUES (X'000000000000000058', 4, 6, 100, 200, 0, 10, 1800000109000000000, NULL, 0, 0);
INSERT INTO snapshot_share (snapshot_id, project_id) VALUES (X'00000000000000006E', 100000000001);
INSERT INTO snapshot_schedule (id, project_id, tag_key, tag_value, every_seconds, keep, next_at, created_at, test_seconds, test_at, tested_at, freeze, freeze_failure) VALUES (X'000000000000000074', 100000000001, 'backup', 'daily', 86400, 7, 1800000117000000000, 1800000118000000000, 604800, 1800000119000000000, NULL, 1, 'no guest agent');
INSERT INTO volume_end (volume_id, at, warns_at, warned_seconds, set_by) VALUES (X'000000000000000058', 1800000125000000000, 1800000125000000000, 60, X'00000000000000007E');
INSERT INTO attachment (id, volume_id, read_only, project_id, instance_n, device, delete_on_termination, state, since, export_id, placement_id, wrapped_secret, export_state, source, message, guest_gib, guest_iops, guest_throughput_mib, is_root) VALUES (X'00000000000000005C', X'000000000000000058', 0, 100000000001, 2, '/dev/sdf', 0, 'attached', 1800000093000000000, X'00000000000000005B', X'00000000000000001F', X'010203', 'open', '{"protocol":"iscsi","portal":"192.0.2.1:3260","target":"iqn.2026-11.test:1","lun":1}', NULL, 0, 0, 0, 0);
INSERT INTO attachment (id, volume_id, read_only, project_id, instance_n, device, delete_on_termination, state, since, export_id, placement_id, wrapped_secret, export_state, source, message, guest_gib, guest_iops, guest_throughput_mib, is_root) VALUES (X'000000000000000065', X'000000000000000064', 0, 100000000001, 2, '/dev/sdg', 0, 'attached', 1800000104000000000, X'000000000000000066', X'00000000000000001F', X'01', 'open', '{"protocol":"local","path":"/srv/fast/2"}', NULL, 0, 0, 0, 0);
INSERT INTO attachment (id, volume_id, read_only, project_id, instance_n, device, delete_on_termination, state, since, export_id, placement_id, wrapped_secret, export_state, source, message, guest_gib, guest_iops, guest_throughput_mib, is_root) VALUES (X'00000000000000008A', X'000000000000000087', 1, 100000000001, 2, '/dev/sdr', 0, 'attaching', 1800000140000000000, X'00000000000000008B', X'00000000000000001F', X'010203', 'making', NULL, NULL, 0, 0, 0, 0);
INSERT INTO attachment (id, volume_id, read_only, project_id, instance_n, device, delete_on_termination, state, since, export_id, placement_id, wrapped_secret, export_state, source, message, guest_gib, guest_iops, guest_throughput_mib, is_root) VALUES (X'00000000000000008D', X'000000000000000087', 1, 100000000001, 3, '/dev/sdr', 0, 'attaching', 1800000143000000000, X'00000000000000008E', X'00000000000000002A', X'010203', 'making', NULL, NULL, 0, 0, 0, 0);
INSERT INTO freeze (id, placement_id, stage, asked_at, kind) VALUES (X'00000000000000006C', X'00000000000000001F', 'freezing', 1800000096000000000, 'vcpus');
INSERT INTO snapshot_test (id, snapshot_id, ordered_at) VALUES (X'000000000000000079', X'00000000000000006E', 1800000124000000000);
INSERT INTO snapshot_tested (snapshot_id, tested_at, digest, failure) VALUES (X'00000000000000006E', 1800000123000000000, X'ED7002B439E9AC845F22357D822BAC1444730FBDB6016D3EC9432297B9EC9F73', NULL);
INSERT INTO volume_move (volume_id, from_pool, to_pool, stage, source_id, target_id, by_drain, since, message) VALUES (X'000000000000000082', X'000000000000000056', X'000000000000000081', 'copying', X'000000000000000084', X'000000000000000085', 0, 1800000134000000000, NULL);
INSERT INTO quarantine (id, pool_id, project_id, removed_at, ordered) VALUES ('vol-0000000000000007f', X'000000000000000056', NULL, 1800000128000000000, 0);
CREATE INDEX access_key_user ON access_key (user_id);
CREATE INDEX access_key_project ON access_key (project_id);
CREATE INDEX audit_done ON audit (project_id) WHERE outcome = 'ok';
CREATE INDEX audit_refused ON audit (project_id) WHERE outcome <> 'ok';
CREATE INDEX audit_at ON audit (at);
CREATE UNIQUE INDEX image_name ON image (project_id, name) WHERE state = 'available';
CREATE INDEX import_task_project ON import_task (project_id);
CREATE UNIQUE INDEX import_task_token ON import_task (project_id, token) WHERE token IS NOT NULL;
CREATE INDEX vpc_project ON vpc (project_id);
CREATE INDEX subnet_project ON subnet (project_id);
CREATE INDEX subnet_vpc ON subnet (vpc_id);
CREATE INDEX security_group_project ON security_group (project_id);
CREATE UNIQUE INDEX security_group_rule_same ON security_group_rule
    (group_id, direction, protocol, ifnull(peer_cidr, ''), ifnull(peer_group_id, x''));
CREATE INDEX security_group_rule_peer ON security_group_rule (peer_group_id);
CREATE INDEX security_group_rule_project ON security_group_rule (project_id);
CREATE UNIQUE INDEX node_machine ON node (machine_uuid) WHERE state <> 'expunged';
CREATE INDEX instance_project ON instance (project_id);
CREATE INDEX instance_reservation ON instance (reservation_id);
CREATE INDEX instance_placement_group ON instance (placement_group_id) WHERE placement_group_id IS NOT NULL;
CREATE INDEX instance_terminated ON instance (state_since) WHERE state = 'terminated';
CREATE INDEX instance_vpc ON instance (vpc_id);
CREATE INDEX instance_subnet ON instance (subnet_id);
CREATE UNIQUE INDEX placement_live ON placement (instance_n) WHERE gone_at IS NULL;
CREATE INDEX placement_node_live ON placement (node_id) WHERE gone_at IS NULL;
CREATE UNIQUE INDEX interface_public_ip ON interface (public_ip) WHERE public_ip IS NOT NULL;
CREATE INDEX launch_token_used_at ON launch_token (used_at);
CREATE TRIGGER instance_takes AFTER UPDATE OF state, vcpus, memory_mib ON instance
WHEN NEW.state <> 'shutting-down' BEGIN
    UPDATE placement SET
        vcpus = iif(NEW.state IN ('stopped', 'terminated'), 0, NEW.vcpus),
        memory_mib = iif(NEW.state IN ('stopped', 'terminated'), 0, NEW.memory_mib)
    WHERE instance_n = NEW.n AND gone_at IS NULL;
END;
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
CREATE TRIGGER interface_removed AFTER DELETE ON interface BEGIN
    UPDATE subnet SET lowest_free_ip = min(lowest_free_ip, OLD.private_ip) WHERE id = OLD.subnet_id;
    UPDATE public_pool SET lowest_free_ip = min(lowest_free_ip, OLD.public_ip)
    WHERE lowest_ip <= OLD.public_ip;
END;
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
CREATE INDEX snapshot_project ON snapshot (project_id);
CREATE INDEX snapshot_pool ON snapshot (pool_id);
CREATE INDEX snapshot_pending ON snapshot (volume_id) WHERE state = 'pending';
CREATE INDEX volume_project ON volume (project_id);
CREATE INDEX volume_pool ON volume (pool_id);
CREATE INDEX volume_being_made ON volume (snapshot_id) WHERE state = 'creating' AND snapshot_id IS NOT NULL;
CREATE UNIQUE INDEX volume_token ON volume (project_id, token) WHERE token IS NOT NULL;
CREATE TRIGGER volume_added AFTER INSERT ON volume BEGIN
    UPDATE project SET used_volumes = used_volumes + 1, used_volume_gib = used_volume_gib + NEW.size_gib
    WHERE id = NEW.project_id;
END;
CREATE TRIGGER volume_resized AFTER UPDATE OF size_gib ON volume BEGIN
    UPDATE project SET used_volume_gib = used_volume_gib + NEW.size_gib - OLD.size_gib
    WHERE id = NEW.project_id;
END;
CREATE TRIGGER volume_removed AFTER DELETE ON volume BEGIN
    UPDATE project SET used_volumes = used_volumes - 1, used_volume_gib = used_volume_gib - OLD.size_gib
    WHERE id = OLD.project_id;
END;
CREATE TRIGGER volume_never_shrinks BEFORE UPDATE OF size_gib ON volume WHEN NEW.size_gib < OLD.size_gib BEGIN
    SELECT raise(ABORT, 'a volume never shrinks');
END;
CREATE TRIGGER volume_change_counts AFTER UPDATE OF actual_gib, iops, throughput_mib ON volume BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE INDEX snapshot_being_copied ON snapshot (copy_of) WHERE state = 'pending' AND copy_of IS NOT NULL;
CREATE INDEX snapshot_public ON snapshot (id) WHERE public;
CREATE INDEX snapshot_share_project ON snapshot_share (project_id);
CREATE INDEX snapshot_schedule_project ON snapshot_schedule (project_id);
CREATE INDEX snapshot_schedule_due ON snapshot_schedule (next_at);
CREATE INDEX snapshot_scheduled ON snapshot (schedule_id) WHERE schedule_id IS NOT NULL;
CREATE INDEX instance_leaving ON instance (n) WHERE state = 'stopping' AND volume_root;
CREATE INDEX volume_image_wanted ON volume (image_digest) WHERE state = 'creating' AND image_digest IS NOT NULL;
CREATE INDEX volume_end_warns ON volume_end (warns_at);
CREATE UNIQUE INDEX volume_access ON volume (id, read_only);
CREATE UNIQUE INDEX attachment_writer ON attachment (volume_id) WHERE NOT read_only;
CREATE UNIQUE INDEX attachment_instance ON attachment (volume_id, instance_n);
CREATE UNIQUE INDEX attachment_place ON attachment (instance_n, substr(device, -1));
CREATE UNIQUE INDEX attachment_root ON attachment (instance_n) WHERE is_root;
CREATE INDEX attachment_project ON attachment (project_id);
CREATE INDEX attachment_placement ON attachment (placement_id);
CREATE TRIGGER attachment_insert_counts AFTER INSERT ON attachment BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER attachment_update_counts AFTER UPDATE ON attachment BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = NEW.project_id;
END;
CREATE TRIGGER attachment_delete_counts AFTER DELETE ON attachment BEGIN
    UPDATE project SET instance_changes = instance_changes + 1 WHERE id = OLD.project_id;
END;
CREATE INDEX snapshot_frozen ON snapshot (freeze_id) WHERE freeze_id IS NOT NULL;
CREATE INDEX snapshot_image_wanted ON snapshot (image_digest) WHERE state = 'pending' AND image_digest IS NOT NULL;
CREATE INDEX snapshot_schedule_test_due ON snapshot_schedule (test_at) WHERE test_at IS NOT NULL;
CREATE INDEX volume_move_from ON volume_move (from_pool);
CREATE INDEX volume_move_to ON volume_move (to_pool);
CREATE TRIGGER what_moves_is_not_used BEFORE INSERT ON attachment
WHEN EXISTS (SELECT 1 FROM volume_move WHERE volume_id = NEW.volume_id) BEGIN
    SELECT raise(ABORT, 'a volume that moves has no instance');
END;
CREATE TRIGGER what_is_used_does_not_move BEFORE INSERT ON volume_move
WHEN EXISTS (SELECT 1 FROM attachment WHERE volume_id = NEW.volume_id) BEGIN
    SELECT raise(ABORT, 'a volume that an instance has does not move');
END;
CREATE TRIGGER volume_stays BEFORE UPDATE OF project_id ON volume BEGIN
    SELECT raise(ABORT, 'a volume never changes its project');
END;
CREATE TRIGGER volume_moves BEFORE UPDATE OF pool_id ON volume
WHEN NEW.pool_id <> OLD.pool_id AND NOT EXISTS
    (SELECT 1 FROM volume_move m WHERE m.volume_id = OLD.id AND m.stage IN ('leaving', 'arriving')
         AND NEW.pool_id IN (m.from_pool, m.to_pool)) BEGIN
    SELECT raise(ABORT, 'a volume changes its pool by a move alone');
END;
CREATE INDEX quarantine_pool ON quarantine (pool_id);
