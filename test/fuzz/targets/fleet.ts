import { attributeNames, eventNames } from '../../../fleet/records/record-names.ts';
import { decodeJsonLogs } from '../../../fleet/records/json.ts';
import {
  decodeLogs,
  decodeLogsResponse,
  encodeLogs,
  encodeLogsResponse,
} from '../../../fleet/records/protobuf.ts';
import type { LogRecord, ResourceRecords } from '../../../fleet/records/log-record.ts';
import type { FuzzTarget } from './target.ts';

const record: LogRecord = {
  event: eventNames.checkpoint,
  time: 1_700_000_000_000,
  attributes: new Map<string, string | number | boolean>([
    ['portcullis.log.seq', 7],
    ['portcullis.log.final', true],
    ['portcullis.log.hash', 'ab'.repeat(32)],
  ]),
  body: '{"outcome":"admit"}',
};
const resource: ResourceRecords = {
  attributes: new Map([[attributeNames.node, 'node-7']]),
  records: [record, { ...record, event: eventNames.state, body: '{}' }],
};
const json = JSON.stringify({
  resourceLogs: [
    {
      resource: { attributes: [{ key: attributeNames.node, value: { stringValue: 'node-7' } }] },
      scopeLogs: [
        {
          logRecords: [
            {
              timeUnixNano: '1700000000000000000',
              eventName: eventNames.checkpoint,
              body: { stringValue: '{}' },
              attributes: [
                { key: 'portcullis.log.seq', value: { intValue: '7' } },
                { key: 'portcullis.log.final', value: { boolValue: true } },
              ],
            },
          ],
        },
      ],
    },
  ],
});

/** The errors of the readers for bytes that are not a message. Their caller answers 400 with the sentence. */
const refusals = /^(?:it has |it is not a message|a record has |\S+ is not (?:an|a) |the request is not )/iu;

/** Reads, or returns why the reader refuses. Any other error is a finding. */
function refusing<T>(read: () => T): T | string {
  try {
    return read();
  } catch (thrown) {
    if (thrown instanceof SyntaxError || (thrown instanceof Error && refusals.test(thrown.message)))
      return thrown.message;
    throw thrown;
  }
}

const shown = (resources: readonly ResourceRecords[]): unknown =>
  resources.map(({ attributes, records }) => [
    [...attributes],
    records.map(({ attributes: own, ...rest }) => [rest, [...own]]),
  ]);

export const targets: readonly FuzzTarget[] = [
  {
    name: 'fleet-otlp',
    group: 'fleet',
    seeds: () => [encodeLogs(resource), encodeLogsResponse({ rejected: 2, message: 'too late' })],
    read(bytes) {
      const resources = refusing(() => decodeLogs(bytes));
      const response = refusing(() => decodeLogsResponse(bytes));
      return [typeof resources === 'string' ? resources : shown(resources), response];
    },
  },
  {
    name: 'fleet-otlp-json',
    group: 'fleet',
    seeds: () => [json],
    words: ['resourceLogs', 'scopeLogs', 'logRecords', 'attributes', 'intValue', 'timeUnixNano'],
    read(bytes) {
      const resources = refusing(() => decodeJsonLogs(bytes.toString('utf8')));
      return typeof resources === 'string' ? resources : shown(resources);
    },
  },
];
