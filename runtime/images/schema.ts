/**
 * Tables of the image store: steps of the schema of the daemon's database, beside trust's verdict log. A
 * dossier row outlives its image: a verdict in the log names it and can be replayed.
 */
export const imageMigrations = [
  `
CREATE TABLE dossier (id TEXT PRIMARY KEY, json TEXT NOT NULL) STRICT;
CREATE TABLE image (
  id TEXT PRIMARY KEY,
  manifest_digest TEXT NOT NULL,
  digest TEXT NOT NULL,
  size INTEGER NOT NULL,
  config TEXT NOT NULL,
  layers TEXT NOT NULL,
  seq INTEGER NOT NULL
) STRICT;
CREATE TABLE image_name (
  name TEXT PRIMARY KEY,
  image_id TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
  asked INTEGER NOT NULL,
  digest TEXT NOT NULL,
  manifest_digest TEXT NOT NULL,
  dossier_id TEXT NOT NULL REFERENCES dossier (id),
  verdict_id TEXT NOT NULL,
  unverified INTEGER NOT NULL,
  seq INTEGER NOT NULL
) STRICT;
CREATE TABLE image_layer (
  folder TEXT PRIMARY KEY,
  diff_id TEXT NOT NULL,
  dependent INTEGER NOT NULL,
  blob_digest TEXT NOT NULL,
  blob_size INTEGER NOT NULL,
  manifest_sha256 TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  inodes INTEGER NOT NULL
) STRICT;
CREATE TABLE image_document (
  image_id TEXT NOT NULL REFERENCES image (id) ON DELETE CASCADE,
  digest TEXT NOT NULL,
  media_type TEXT NOT NULL,
  bytes BLOB NOT NULL,
  PRIMARY KEY (image_id, digest)
) STRICT;
`,
] as const;
