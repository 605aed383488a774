/**
 * The lowest schema version whose code can continue with a database that this code wrote: each step above it
 * only adds (docs/decisions/0074). Raise it only with a new minor version, when a step changes or removes
 * something that older code uses.
 */
export const lowestReader = 12;

/**
 * The schema of network.db, contiguous from version 1. PRAGMA user_version is the version that a program must
 * support, `schema_steps` the number of applied steps. A released version is never changed.
 *
 * `realm`: the host network namespace of an attachment ({@link realmOf}); empty for a row of version 1, whose
 * engine treats it as its own. `origin`: a pod of our own runtime, or a call of a CNI plugin by another one.
 * `lease.scope`: addresses are unique within it; empty for networks that the host routes, otherwise the
 * network's name. `part`: what one plugin of a chain created; for the runtime's plain networks the spec
 * contains everything. `lease.part` and `host_port.part`: the type of the plugin whose DEL frees them.
 */
export const migrations: readonly string[] = [
  `CREATE TABLE attachment (
     id TEXT PRIMARY KEY,
     state TEXT NOT NULL CHECK (state IN ('attaching', 'ready', 'detaching')),
     class TEXT NOT NULL,
     host_interface TEXT NOT NULL UNIQUE,
     spec TEXT NOT NULL
   ) STRICT;
   CREATE TABLE lease (
     address BLOB PRIMARY KEY,
     attachment TEXT NOT NULL REFERENCES attachment (id) ON DELETE CASCADE
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX lease_attachment ON lease (attachment);
   CREATE TABLE last_lease (
     network TEXT NOT NULL,
     range_set INTEGER NOT NULL,
     address BLOB NOT NULL,
     PRIMARY KEY (network, range_set)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE host_port (
     protocol TEXT NOT NULL,
     port INTEGER NOT NULL,
     host_ip TEXT NOT NULL,
     attachment TEXT NOT NULL REFERENCES attachment (id) ON DELETE CASCADE,
     PRIMARY KEY (protocol, port, host_ip)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX host_port_attachment ON host_port (attachment);`,

  `ALTER TABLE attachment RENAME TO attachment_1;
   ALTER TABLE lease RENAME TO lease_1;
   ALTER TABLE last_lease RENAME TO last_lease_1;
   ALTER TABLE host_port RENAME TO host_port_1;
   DROP INDEX lease_attachment;
   DROP INDEX host_port_attachment;
   CREATE TABLE attachment (
     number INTEGER PRIMARY KEY,
     realm TEXT NOT NULL,
     origin TEXT NOT NULL CHECK (origin IN ('pod', 'plugin')),
     network TEXT NOT NULL,
     container_id TEXT NOT NULL,
     interface TEXT NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('attaching', 'ready', 'detaching')),
     class TEXT NOT NULL,
     host_interface TEXT NOT NULL,
     spec TEXT NOT NULL,
     UNIQUE (realm, origin, network, container_id, interface),
     UNIQUE (realm, host_interface)
   ) STRICT;
   CREATE INDEX attachment_container ON attachment (container_id);
   CREATE TABLE part (
     attachment INTEGER NOT NULL REFERENCES attachment (number) ON DELETE CASCADE,
     type TEXT NOT NULL,
     position INTEGER NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('making', 'ready', 'removing')),
     netns TEXT NOT NULL,
     resources TEXT NOT NULL,
     result TEXT NOT NULL,
     PRIMARY KEY (attachment, type)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX part_unfinished ON part (attachment) WHERE state <> 'ready';
   CREATE TABLE lease (
     realm TEXT NOT NULL,
     scope TEXT NOT NULL,
     address BLOB NOT NULL,
     attachment INTEGER NOT NULL REFERENCES attachment (number) ON DELETE CASCADE,
     part TEXT NOT NULL,
     PRIMARY KEY (realm, scope, address)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX lease_attachment ON lease (attachment);
   CREATE TABLE last_lease (
     realm TEXT NOT NULL,
     network TEXT NOT NULL,
     range_set INTEGER NOT NULL,
     address BLOB NOT NULL,
     PRIMARY KEY (realm, network, range_set)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE host_port (
     realm TEXT NOT NULL,
     protocol TEXT NOT NULL,
     port INTEGER NOT NULL,
     host_ip TEXT NOT NULL,
     attachment INTEGER NOT NULL REFERENCES attachment (number) ON DELETE CASCADE,
     part TEXT NOT NULL,
     PRIMARY KEY (realm, protocol, port, host_ip)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX host_port_attachment ON host_port (attachment);
   INSERT INTO attachment (realm, origin, network, container_id, interface, state, class, host_interface, spec)
     SELECT '', 'pod', json_extract(spec, '$.network'), id, json_extract(spec, '$.interface'), state, class, host_interface, spec
     FROM attachment_1 ORDER BY rowid;
   INSERT INTO lease (realm, scope, address, attachment, part)
     SELECT '', '', address, number, '' FROM lease_1 JOIN attachment ON container_id = lease_1.attachment;
   INSERT INTO host_port (realm, protocol, port, host_ip, attachment, part)
     SELECT '', protocol, port, host_ip, number, '' FROM host_port_1 JOIN attachment ON container_id = host_port_1.attachment;
   DROP TABLE lease_1;
   DROP TABLE last_lease_1;
   DROP TABLE host_port_1;
   DROP TABLE attachment_1;`,

  // Peer rules within the class, as JSON.
  `ALTER TABLE attachment ADD COLUMN rules TEXT NOT NULL DEFAULT '{}'`,

  // Names of a network's endpoints, for its DNS. `name`: in lower case, without the final dot; `address`: as
  // in `lease`. `holder`: the names that are written and removed together; the names of an attachment end
  // with it.
  `CREATE TABLE name (
     realm TEXT NOT NULL,
     network TEXT NOT NULL,
     name TEXT NOT NULL,
     address BLOB NOT NULL,
     kind TEXT NOT NULL CHECK (kind IN ('container', 'alias', 'service')),
     holder TEXT NOT NULL,
     attachment INTEGER REFERENCES attachment (number) ON DELETE CASCADE,
     PRIMARY KEY (realm, network, name, address, holder)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX name_attachment ON name (attachment);`,

  // Networks and endpoints that remote drivers of libnetwork were asked to create, as JSON: written before
  // each request. They survive a reboot, as the drivers' own state does.
  `CREATE TABLE remote_network (
     realm TEXT NOT NULL,
     network TEXT NOT NULL,
     document TEXT NOT NULL,
     PRIMARY KEY (realm, network)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE remote_endpoint (
     realm TEXT NOT NULL,
     network TEXT NOT NULL,
     container_id TEXT NOT NULL,
     interface TEXT NOT NULL,
     document TEXT NOT NULL,
     PRIMARY KEY (realm, network, container_id, interface)
   ) STRICT, WITHOUT ROWID;`,

  // Objects that container engines of libnetwork's model created through our remote driver. Networks and
  // address pools survive a reboot, as the engine's own records do. `cnm_endpoint.realm`: as in `attachment`.
  `CREATE TABLE cnm_network (
     id TEXT PRIMARY KEY,
     spec TEXT NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE cnm_endpoint (
     id TEXT PRIMARY KEY,
     network TEXT NOT NULL REFERENCES cnm_network (id),
     realm TEXT NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('making', 'ready', 'removing')),
     spec TEXT NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX cnm_endpoint_network ON cnm_endpoint (network);
   CREATE TABLE cnm_pool (
     id TEXT PRIMARY KEY,
     pool TEXT NOT NULL,
     range TEXT NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE cnm_address (
     pool TEXT NOT NULL REFERENCES cnm_pool (id) ON DELETE CASCADE,
     address BLOB NOT NULL,
     PRIMARY KEY (pool, address)
   ) STRICT, WITHOUT ROWID;`,

  // Name servers, as text, that are queried on a pod's behalf for names outside its networks. Names are also
  // found by address.
  `CREATE TABLE upstream (
     attachment INTEGER NOT NULL REFERENCES attachment (number) ON DELETE CASCADE,
     position INTEGER NOT NULL,
     address TEXT NOT NULL,
     PRIMARY KEY (attachment, position)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX name_address ON name (realm, address);`,

  // Host namespaces of callers, each by its number in the namespace of the engine that served it (`observer`,
  // a realm).
  `CREATE TABLE realm (
     realm TEXT PRIMARY KEY,
     observer TEXT NOT NULL,
     number INTEGER NOT NULL
   ) STRICT, WITHOUT ROWID;`,

  // Services, as JSON, each of one source; they survive a reboot. `service_backend`: what is known about a
  // backend (its address, for checks also its port) beside the description. `service_drain`: virtual servers
  // whose connections to some destinations are being drained, as JSON.
  `CREATE TABLE service (
     name TEXT PRIMARY KEY,
     source TEXT NOT NULL,
     document TEXT NOT NULL
   ) STRICT;
   CREATE TABLE service_backend (
     service TEXT NOT NULL REFERENCES service (name) ON DELETE CASCADE,
     backend TEXT NOT NULL,
     state TEXT NOT NULL CHECK (state IN ('drained', 'unwell')),
     PRIMARY KEY (service, backend, state)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE service_drain (
     key TEXT PRIMARY KEY,
     standing TEXT NOT NULL
   ) STRICT;`,

  // Services of networks, in libnetwork's model. `service_member`: what an attachment joins, as JSON; it ends
  // with the attachment. `network_service`: a service that has virtual addresses, is to get them, or is
  // releasing them; as JSON.
  `CREATE TABLE service_member (
     attachment INTEGER NOT NULL REFERENCES attachment (number) ON DELETE CASCADE,
     realm TEXT NOT NULL,
     network TEXT NOT NULL,
     service TEXT NOT NULL,
     document TEXT NOT NULL,
     PRIMARY KEY (attachment, service)
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX service_member_service ON service_member (realm, network, service);
   CREATE TABLE network_service (
     realm TEXT NOT NULL,
     network TEXT NOT NULL,
     service TEXT NOT NULL,
     document TEXT NOT NULL,
     PRIMARY KEY (realm, network, service)
   ) STRICT, WITHOUT ROWID;`,

  // Node ports of services in the kernel: no pod gets such a host port. They belong to one daemon, which
  // rewrites them at each start. `realm`: as in `host_port`. `key`: of the virtual server.
  `CREATE TABLE service_node_port (
     key TEXT PRIMARY KEY,
     realm TEXT NOT NULL,
     protocol TEXT NOT NULL,
     port INTEGER NOT NULL,
     service TEXT NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE INDEX service_node_port_port ON service_node_port (port, protocol);`,

  // Services of a network that spans hosts, as the overlay knows them: `spanned_service` is what all hosts
  // agreed on, `spanned_member` the members on one other host, as JSON. They survive a reboot. `realm`: the
  // host namespace of the participating daemon. `link`: the link with the gateway of its pods.
  `CREATE TABLE spanned_network (
     network TEXT PRIMARY KEY,
     realm TEXT NOT NULL,
     link TEXT NOT NULL
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE spanned_service (
     network TEXT NOT NULL REFERENCES spanned_network (network) ON DELETE CASCADE,
     service TEXT NOT NULL,
     document TEXT NOT NULL,
     PRIMARY KEY (network, service)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE spanned_member (
     network TEXT NOT NULL REFERENCES spanned_network (network) ON DELETE CASCADE,
     service TEXT NOT NULL,
     host TEXT NOT NULL,
     document TEXT NOT NULL,
     PRIMARY KEY (network, service, host)
   ) STRICT, WITHOUT ROWID;`,

  // Owners of names and services: the namespace of their pod, or `(docker)`, `(cni)`. Empty: the owner is
  // unknown, because it was not recorded when a plugin created the attachment; it does not exclude anyone
  // from the service. `name.since`: milliseconds since 1970, when the holder first had the name.
  // `spanned_rules`: what this host's own settings allow services of a network over hosts, as JSON.
  `ALTER TABLE name ADD COLUMN owner TEXT NOT NULL DEFAULT '';
   ALTER TABLE name ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE service_member ADD COLUMN owner TEXT NOT NULL DEFAULT '';
   UPDATE service_member SET owner = coalesce(
     (SELECT CASE WHEN cnm_endpoint.id IS NOT NULL THEN '(docker)'
                  WHEN pod.number IS NOT NULL THEN coalesce(nullif(json_extract(pod.spec, '$.pod.namespace'), ''), '(cni)') END
      FROM attachment AS own
      LEFT JOIN attachment AS pod ON pod.realm = own.realm AND pod.container_id = own.container_id AND pod.origin = 'pod'
      LEFT JOIN cnm_endpoint ON cnm_endpoint.id = own.container_id AND cnm_endpoint.realm = own.realm
      WHERE own.number = attachment LIMIT 1), '');
   CREATE INDEX service_member_owner ON service_member (realm, network, owner, service);
   ALTER TABLE network_service ADD COLUMN owner TEXT NOT NULL DEFAULT '';
   CREATE TABLE spanned_rules (
     network TEXT PRIMARY KEY REFERENCES spanned_network (network) ON DELETE CASCADE,
     document TEXT NOT NULL
   ) STRICT, WITHOUT ROWID;`,

  // Leases of DHCP servers, as JSON: the client of the plugin attachment, and its lease. Without a lease, the
  // ADD has not finished.
  `CREATE TABLE dhcp_lease (
     attachment INTEGER NOT NULL REFERENCES attachment (number) ON DELETE CASCADE,
     part TEXT NOT NULL,
     document TEXT NOT NULL,
     PRIMARY KEY (attachment, part)
   ) STRICT, WITHOUT ROWID;`,

  // Id of the pod's network namespace at `netns`, because another namespace may get that path. Empty: it is
  // unknown, because an earlier version recorded the row or the plugin has nothing in the pod.
  `ALTER TABLE part ADD COLUMN netns_id TEXT NOT NULL DEFAULT ''`,
];
