import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  CAPABILITIES,
  capabilityName,
  DEFAULT_CAPABILITIES,
  expandCapabilities,
} from './capability-names.ts';
import { capabilitySets } from './sets.ts';

describe('capability sets', () => {
  it('are bounding = permitted = effective, with nothing inheritable', () => {
    const sets = capabilitySets(['KILL', 'CHOWN'], []);
    assert.deepEqual(sets, {
      bounding: ['CHOWN', 'KILL'],
      effective: ['CHOWN', 'KILL'],
      permitted: ['CHOWN', 'KILL'],
      inheritable: [],
      ambient: [],
    });
  });

  it('make only requested and granted capabilities ambient, and also inheritable', () => {
    const sets = capabilitySets(['CHOWN', 'KILL'], ['KILL', 'SYS_ADMIN']);
    assert.deepEqual([sets.ambient, sets.inheritable], [['KILL'], ['KILL']]);
  });

  it('never exceed the capabilities of the daemon', () => {
    const sets = capabilitySets(['CHOWN', 'SYS_RESOURCE'], ['SYS_RESOURCE'], ['CHOWN', 'KILL']);
    assert.deepEqual([sets.bounding, sets.ambient], [['CHOWN'], []]);
  });
});

describe('capability names', () => {
  it('are read in any spelling, and unknown ones refused', () => {
    assert.deepEqual(['cap_net_admin', 'CAP_KILL', 'chown', 'CAP_', 'ALL', 'CAP_BOGUS'].map(capabilityName), [
      'NET_ADMIN',
      'KILL',
      'CHOWN',
      undefined,
      undefined,
      undefined,
    ]);
    assert.deepEqual(expandCapabilities(['all', 'KILL'], ['CHOWN']), ['CHOWN', 'KILL']);
    assert.throws(() => expandCapabilities(['CAP_BOGUS'], []), { code: 'ENTITLEMENTS_UNKNOWN_CAPABILITY' });
  });

  it('are not read from letters that only look like theirs', () => {
    // The long s, the dotless i and the ligature st become ASCII letters in upper case.
    assert.deepEqual(['\u017fYS_ADMIN', 'CAP_NET_ADM\u0131N', 'CHECKPOINT_RE\ufb06ORE'].map(capabilityName), [
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('are the kernel’s 41, of which docker grants 14', () => {
    assert.equal(CAPABILITIES.length, 41);
    assert.equal(DEFAULT_CAPABILITIES.length, 14);
    assert.ok(DEFAULT_CAPABILITIES.every((name) => CAPABILITIES.includes(name)));
  });
});
