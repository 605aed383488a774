import assert from 'node:assert/strict';
import { multipart, multipartType, publisher } from '../../trust/notary/publisher.fixture.ts';
import { askRaw, statusOf } from './ask.ts';
import { generateRequest } from './requests.ts';
import type { RequestSources } from './requests.ts';
import { startService } from './started-service.ts';

export interface CampaignOptions {
  readonly requests: number;
  readonly seed: number;
  /** Number of the first request; default 0. */
  readonly from?: number;
  /** Whether the service requires tokens. */
  readonly tokens: boolean;
}

export interface CampaignResult {
  /**
   * How many answers had each status; `none`: requests that are not valid HTTP or whose client left, and that
   * got no answer.
   */
  readonly statuses: ReadonlyMap<number | 'none', number>;
  readonly milliseconds: number;
}

/** Concurrent connections. */
const atOnce = 12;

/**
 * Sends random requests to a trust service in a separate process.
 * @throws AssertionError when the service ends, when a request of valid HTTP gets no status, or when one
 * fails inside it (5xx)
 */
export async function runCampaign({
  requests,
  seed,
  from = 0,
  tokens,
}: CampaignOptions): Promise<CampaignResult> {
  const service = await startService({ tokens });
  try {
    const { port, authorizations } = service;
    const sources: RequestSources = { uploads: uploads(), authorizations };
    const statuses = new Map<number | 'none', number>();
    const started = performance.now();
    let next = from;
    const worker = async (): Promise<void> => {
      while (next < from + requests) {
        const number = next;
        next += 1;
        const { bytes, expect, about } = generateRequest(seed, number, sources);
        const answer = await askRaw(port, bytes, expect);
        assert.ok(service.isAlive(), `the service has ended at ${about}: ${service.errors()}`);
        assert.ok(answer !== undefined, `no connection for ${about}: ${service.errors()}`);
        const status = statusOf(answer);
        assert.ok(
          expect !== 'status' || status !== undefined,
          `no status for ${about}: ${JSON.stringify(answer.toString('latin1').slice(0, 200))}`,
        );
        assert.ok(
          answer.length === 0 || expect === 'gone' || status !== undefined,
          `no HTTP for ${about}: ${JSON.stringify(answer.toString('latin1').slice(0, 200))}`,
        );
        assert.ok(status === undefined || status < 500, `${status} for ${about}: ${service.errors()}`);
        statuses.set(status ?? 'none', (statuses.get(status ?? 'none') ?? 0) + 1);
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    const milliseconds = performance.now() - started;
    // Failures after its last answer count as well.
    assert.equal((await service.ask('GET /_notary_server/health')).status, 200);
    return { statuses, milliseconds };
  } finally {
    await service.end();
  }
}

/** Returns the requests of a publisher, before they are changed. */
function uploads(): RequestSources['uploads'] {
  const owner = publisher('docker.io/a');
  const key = { keytype: 'ed25519', keyval: { public: Buffer.alloc(32, 1).toString('base64') } };
  const files = [
    { name: 'root', bytes: owner.root(1, { snapshot: key, timestamp: key }) },
    { name: 'targets', bytes: owner.targets(1, { v1: 'one' }) },
  ];
  const bodies = [
    multipart(files),
    multipart(files.slice(1)),
    multipart([{ name: 'targets/a', bytes: '{}' }]),
    multipart([]),
  ];
  const odd = [
    Buffer.from('{}'),
    Buffer.from([0]),
    Buffer.from('--x\r\nContent-Disposition: form-data; name="a"; filename="\\"\r\n\r\n\r\n--x--\r\n'),
  ];
  return [...bodies, ...odd].map((bytes) => ({ type: multipartType, bytes }));
}
