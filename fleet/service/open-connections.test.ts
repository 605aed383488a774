import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { TestContext } from 'node:test';
import { connect } from 'node:tls';
import { makeCertificate } from '../../test/fixtures/certificate.ts';
import { startFleet, temporaryFolder } from '../fleet.fixture.ts';

/** An aggregator on a clock, and a connection to it with a client certificate that is valid for two days. */
async function stage(t: TestContext) {
  const folder = await temporaryFolder(t);
  const text = (file: string): string => readFileSync(file, 'utf8');
  const authority = makeCertificate(folder, 'authority');
  const issue = (name: string, subject: string) =>
    makeCertificate(folder, name, {
      more: ['-CA', authority.certificate, '-CAkey', authority.key, '-subj', subject],
    });
  const [server, client] = [issue('server', '/CN=server'), issue('node', '/O=portcullis:nodes/CN=a')];
  const tls = {
    ...{ certificate: text(server.certificate), key: text(server.key) },
    clientAuthorities: text(authority.certificate),
  };
  let passed = 0;
  const service = await startFleet(t, { tls, clock: () => Date.now() + passed });
  const socket = connect({
    ...{ host: '127.0.0.1', port: Number(new URL(service.url).port), rejectUnauthorized: false },
    ...{ cert: text(client.certificate), key: text(client.key) },
  });
  t.after(() => socket.destroy());
  socket.setEncoding('utf8').on('error', () => undefined);
  await once(socket, 'secureConnect');
  return {
    service,
    socket,
    tls,
    other: text(makeCertificate(folder, 'other').certificate),
    pass: (ms: number) => (passed += ms),
    async status(): Promise<string> {
      socket.write('GET /v1/nodes HTTP/1.1\r\nhost: a\r\n\r\n');
      const [answer] = (await once(socket, 'data')) as [string];
      return answer.split(' ')[1] ?? '';
    },
  };
}

describe('an open connection with a client certificate', { timeout: 180_000 }, () => {
  it('names nobody any more after the certificate has expired', async (t) => {
    const { status, pass } = await stage(t);
    assert.equal(await status(), '403', 'a node may not read');
    pass(3 * 86_400_000);
    assert.equal(await status(), '401');
  });

  it('is closed when its authority is removed, also while it sends a request', async (t) => {
    const { status, socket, service, tls, other } = await stage(t);
    assert.equal(await status(), '403');
    socket.write('POST /v1/logs HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n');
    socket.write('content-length: 10\r\nexpect: 100-continue\r\n\r\n');
    await once(socket, 'data');
    const closed = once(socket, 'close');
    service.use({ tls: { ...tls, clientAuthorities: other } });
    await closed;
  });
});
