/**
 * The names in the OTLP log records that a node sends to the aggregator (docs/fleet.md, "What a node sends").
 */
export const eventNames = {
  /** A row of the verdict log. The body is the text of its verdict, if the node still has it. */
  row: 'portcullis.verdict_log.row',
  /** The latest checkpoint of the verdict log. The body is the signed note. */
  checkpoint: 'portcullis.verdict_log.checkpoint',
  /** The state of the node. The body is JSON. It replaces the earlier state. */
  state: 'portcullis.node.state',
  /** The policy that is in force, once after it came into force. The body is JSON (policy.ts). */
  policy: 'portcullis.node.policy',
} as const;

export const attributeNames = {
  /** Names the node; an attribute of the resource. */
  node: 'portcullis.node',
  /** Begins the name of each label; attributes of the resource. */
  label: 'portcullis.label.',
  seq: 'portcullis.verdict_log.seq',
  entry: 'portcullis.verdict_log.entry',
  evidence: 'portcullis.verdict_log.evidence',
  hash: 'portcullis.verdict_log.hash',
} as const;

/** The header of an answer to a node: the sequence number of the row that the aggregator needs next. */
export const nextRowHeader = 'portcullis-next-row';

/** Names of nodes and readers, in tokens, certificates and configurations. */
export const namePattern = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/u;
