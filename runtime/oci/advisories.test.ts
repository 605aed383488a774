import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compareVersions, openAdvisories } from './advisories.ts';
import { refuseVulnerable } from './runtime-handler.ts';

const cases: { program: string; version: string; debian: boolean; open: string[] }[] = [
  {
    program: 'crun',
    version: '1.8.1',
    debian: false,
    open: ['CVE-2026-88264', 'CVE-2026-88265', 'CVE-2026-47766', 'CVE-2025-24965'],
  },
  {
    program: 'crun',
    version: '1.26',
    debian: false,
    open: ['CVE-2026-88264', 'CVE-2026-88265', 'CVE-2026-47766', 'CVE-2026-30892'],
  },
  { program: 'crun', version: '1.29.1', debian: false, open: ['CVE-2026-88264', 'CVE-2026-88265'] },
  {
    program: 'runc',
    version: '1.1.5',
    debian: true,
    open: ['CVE-2026-41579', 'CVE-2025-31133', 'CVE-2025-52565', 'CVE-2025-52881', 'CVE-2024-45310'],
  },
  { program: 'runc', version: '1.3.3', debian: false, open: ['CVE-2026-41579'] },
  { program: 'runc', version: '1.4.2', debian: false, open: ['CVE-2026-41579'] },
  { program: 'runc', version: '1.5.2', debian: false, open: [] },
  { program: 'conmon', version: '2.1.6', debian: false, open: [] },
  { program: 'unheard-of', version: '1.0', debian: false, open: [] },
];

describe('open advisories', () => {
  for (const { program, version, debian, open } of cases) {
    it(`${program} ${version}${debian ? ' of Debian' : ''}: ${open.length} open`, () => {
      assert.deepEqual(
        openAdvisories(program, version, () => debian).map((advisory) => advisory.cve),
        open,
      );
    });
  }

  it('versions compare by number', () => {
    assert.ok(compareVersions('1.10', '1.9.9') > 0);
    assert.equal(compareVersions('1.2', '1.2.0'), 0);
  });

  it('strict refuses a runtime with the ids of its flaws, and accepts one without flaws', () => {
    const runc = { name: 'runc', path: '/usr/sbin/runc', kind: 'runc' } as const;
    assert.throws(() => refuseVulnerable({ ...runc, version: '1.1.5' }), {
      code: 'RUNTIME_HANDLER_VULNERABLE',
      message: /CVE-2024-21626/,
    });
    refuseVulnerable({ ...runc, version: '1.5.2' });
  });
});
