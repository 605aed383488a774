import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pastItsLink } from './link-class.ts';

test('a container that can bypass its link is reported: it has NET_ADMIN in the host’s user namespace, its own link, and no wider capability', () => {
  const rows: readonly (readonly [
    bounding: readonly string[],
    networkClass: string,
    owned: boolean,
    reported: boolean,
  ])[] = [
    [['CHOWN', 'NET_ADMIN'], 'user', false, true],
    [['NET_ADMIN'], 'admin', false, true],
    [['NET_ADMIN'], 'none', false, true],
    [['NET_ADMIN'], 'admin', true, false],
    [['NET_RAW'], 'proxy', false, false],
    [['NET_ADMIN'], 'host', false, false],
    [['NET_ADMIN', 'SYS_ADMIN'], 'admin', false, false],
  ];
  for (const [bounding, networkClass, owned, reported] of rows) {
    const settings = { capabilities: { bounding }, networkClass } as Parameters<typeof pastItsLink>[0];
    assert.equal(
      pastItsLink(settings, owned) !== undefined,
      reported,
      `${bounding.join()} ${networkClass} ${owned}`,
    );
  }
});
