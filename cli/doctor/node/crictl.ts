import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseDocuments } from '../../../base/schema/index.ts';
import type { Finding } from '../finding.ts';

/** Checks whether `crictl` asks this daemon, by its file /etc/crictl.yaml (cri-tools, docs/crictl.md). */
export function crictlFindings(root: string, socket: string): readonly Finding[] {
  const topic = 'crictl.yaml';
  const fix = `printf 'runtime-endpoint: unix://${socket}\\nimage-endpoint: unix://${socket}\\n' > /etc/crictl.yaml`;
  let text: string;
  try {
    text = readFileSync(join(root, 'etc/crictl.yaml'), 'utf8');
  } catch {
    return [
      {
        topic,
        state: 'degraded',
        found: 'does not exist',
        meaning: ['crictl tries other runtimes unless -r names this socket'],
        fix,
      },
    ];
  }
  const value = parseDocuments(text, '/etc/crictl.yaml').documents[0]?.value;
  const said = (typeof value === 'object' && value !== null ? value : {}) as Readonly<
    Record<string, unknown>
  >;
  const wrong = ['runtime-endpoint', 'image-endpoint'].filter((key) => {
    const endpoint = said[key];
    // Without an image endpoint crictl uses the runtime endpoint.
    if (key === 'image-endpoint' && (endpoint === undefined || endpoint === '')) return false;
    return typeof endpoint !== 'string' || endpoint.replace(/^unix:(\/\/)?/, '') !== socket;
  });
  if (wrong.length === 0) return [{ topic, state: 'fine', found: `unix://${socket}` }];
  const found = wrong
    .map((key) => `${key}: ${typeof said[key] === 'string' ? said[key] : 'not set'}`)
    .join(', ');
  return [{ topic, state: 'degraded', found, meaning: ['crictl asks another runtime'], fix }];
}
