import type { Migration } from '../../base/storage/index.ts';

/** The schema of fleet.db. Append only: a released step never changes and never moves. */
export const fleetMigrations: readonly Migration[] = [
  {
    version: 1,
    // A node's rows are a chain without a gap: `seq` and `hash` of the node are those of its last row.
    // `would` is the outcome that the rule would have without an exception of the policy.
    sql: `
      CREATE TABLE node (
        id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, labels TEXT NOT NULL, seen INTEGER NOT NULL,
        seq INTEGER NOT NULL, hash TEXT NOT NULL, key TEXT NOT NULL, signed INTEGER NOT NULL, note TEXT NOT NULL,
        state TEXT NOT NULL, summary TEXT NOT NULL, bytes INTEGER NOT NULL
      ) STRICT;
      CREATE TABLE image (
        id INTEGER PRIMARY KEY, reference TEXT NOT NULL, digest TEXT NOT NULL, UNIQUE (reference, digest)
      ) STRICT;
      CREATE TABLE row (
        node INTEGER NOT NULL, seq INTEGER NOT NULL, received INTEGER NOT NULL, bytes INTEGER NOT NULL,
        entry TEXT NOT NULL, evidence TEXT NOT NULL, hash TEXT NOT NULL,
        time INTEGER, outcome TEXT, namespace TEXT, revision TEXT, verdict TEXT, image INTEGER,
        PRIMARY KEY (node, seq)
      ) WITHOUT ROWID, STRICT;
      CREATE INDEX row_time ON row (time, node, seq) WHERE outcome IS NOT NULL;
      CREATE INDEX row_node ON row (node, time, seq) WHERE outcome IS NOT NULL;
      CREATE INDEX row_outcome ON row (outcome, time, node, seq) WHERE outcome IS NOT NULL;
      CREATE INDEX row_namespace ON row (namespace, time, node, seq) WHERE outcome IS NOT NULL;
      CREATE INDEX row_image ON row (image, time, node, seq) WHERE outcome IS NOT NULL;
      CREATE INDEX row_verdict ON row (verdict, time, node, seq) WHERE outcome IS NOT NULL;
      CREATE TABLE verdict_text (id TEXT PRIMARY KEY, json TEXT NOT NULL, would TEXT) STRICT;
      CREATE INDEX verdict_text_would ON verdict_text (would) WHERE would IS NOT NULL;
      CREATE TABLE reason (
        code TEXT NOT NULL, verdict TEXT NOT NULL, PRIMARY KEY (code, verdict)
      ) WITHOUT ROWID, STRICT;
      CREATE TABLE problem (
        node INTEGER NOT NULL, code TEXT NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL, text TEXT NOT NULL,
        PRIMARY KEY (node, code, seq)
      ) WITHOUT ROWID, STRICT;`,
  },
  {
    version: 2,
    // The sources of policies, by the revision that follows from them, and the nodes that sent them.
    sql: `
      CREATE TABLE policy (revision TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
      CREATE TABLE policy_node (
        node INTEGER NOT NULL, revision TEXT NOT NULL, received INTEGER NOT NULL, PRIMARY KEY (node, revision)
      ) WITHOUT ROWID, STRICT;
      CREATE INDEX policy_node_revision ON policy_node (revision);`,
  },
  {
    version: 3,
    // Parts of the states, which are large: the images that run on each node, and the release that each node
    // has evaluated. `running` of a node is the list from which its rows in the table were made.
    sql: `
      ALTER TABLE node ADD COLUMN running TEXT NOT NULL DEFAULT '';
      ALTER TABLE node ADD COLUMN upcoming TEXT NOT NULL DEFAULT '';
      UPDATE node SET upcoming = coalesce(json_extract(state, '$.upcoming'), '') WHERE state <> '';
      CREATE TABLE running (
        reference TEXT NOT NULL, image TEXT NOT NULL, node INTEGER NOT NULL, verdict TEXT NOT NULL,
        containers INTEGER NOT NULL, PRIMARY KEY (reference, image, node)
      ) WITHOUT ROWID, STRICT;
      CREATE INDEX running_node ON running (node);
      INSERT INTO running
        SELECT one.value ->> '$.reference', one.value ->> '$.imageId', node.id,
          max(one.value ->> '$.verdict'), count(*)
        FROM node, json_each(iif(node.state = '', '{}', node.state), '$.running') AS one GROUP BY 1, 2, 3;`,
  },
];
