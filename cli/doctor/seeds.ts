import type { SigstoreSeed } from '../../trust/sigstore/index.ts';
import type { Finding } from './finding.ts';

const day = 24 * 3600 * 1000;

/** Number of days before a seed expires from which it is reported. */
export const warningDays = 60;

/**
 * Checks the sigstore roots that ship with this version. Each is reported from {@link warningDays} before it
 * expires.
 */
export function seedFindings(seeds: readonly SigstoreSeed[], now: Date): readonly Finding[] {
  return seeds.map((seed) => {
    const topic = `sigstore seed ${seed.name}`;
    const end = new Date(seed.expires).toISOString().slice(0, 10);
    const left = seed.expires - now.getTime();
    const found = `TUF root ${seed.version}, until ${end}`;
    if (left > warningDays * day) return { topic, state: 'fine', found };
    const ended = left <= 0;
    return {
      topic,
      state: 'degraded',
      found: ended ? `TUF root ${seed.version}, ended on ${end}` : `${found}: ${Math.ceil(left / day)} days`,
      meaning: [meaningOf(seed, ended)],
      fix:
        seed.name === 'public-good'
          ? 'install a newer version of portcullis; until then: portcullis sigstore-root update'
          : `install a newer version of portcullis; until then: portcullis sigstore-root update --url ${seed.url} --root FILE`,
    };
  });
}

function meaningOf({ name }: SigstoreSeed, ended: boolean): string {
  const since = ended ? 'Policies' : 'After that, policies';
  return name === 'public-good'
    ? `${since} with \`root: public-good\` cannot decide with the shipped root; machines that have fetched a newer root are not affected. An update still begins with this root.`
    : 'An update from this repository still begins with this root; the older it is, the more roots have to follow it.';
}
