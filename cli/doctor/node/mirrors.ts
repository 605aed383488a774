import { createRegistryClient, parseReference } from '../../../base/distribution/index.ts';
import { reasonOf } from '../../../base/errors/index.ts';
import { parseJson } from '../../../base/json/index.ts';
import { createCriClient, registryOptionsOf, registryRulesOf } from '../../../runtime/index.ts';
import type { CriClient, DaemonConfig } from '../../../runtime/index.ts';
import { lackingAtMirror } from '../../../trust/transfer/index.ts';
import type { FoundEvidence } from '../../../trust/transfer/index.ts';
import type { Finding } from '../finding.ts';

/** An image of the daemon, with the evidence that admitted it. */
interface KnownImage {
  readonly name: string;
  readonly evidence: readonly FoundEvidence[];
}

/** Number of checked images: enough to see what a mirror does with evidence. Each costs a few requests. */
const mostImages = 5;
/** Time limit of each mirror, so that a mirror that does not answer leaves time for the others. */
const patienceMs = 10_000;

/**
 * Reports whether the configured mirrors serve the evidence of images that the daemon has. Many mirrors drop
 * referrers and tags, and the image is denied as soon as only the mirror answers. Without a mirror, no
 * registry is contacted.
 */
export async function mirrorFindings(config: DaemonConfig): Promise<readonly Finding[]> {
  const rules = registryRulesOf(config.registries);
  if ([...rules.values()].every(({ mirrors }) => mirrors.length === 0)) return [];
  const cri = createCriClient(config.socket);
  try {
    const registries = createRegistryClient(await registryOptionsOf(config.registries));
    try {
      return await findingsOf(await knownImages(cri), registries, patienceMs);
    } finally {
      await registries.close();
    }
  } catch (thrown) {
    const found = `could not be compared: ${reasonOf(thrown)}`;
    return [{ topic: 'mirrors', state: 'degraded', found, fix: 'systemctl start portcullisd' }];
  } finally {
    cri.close();
  }
}

/** @param patience for each mirror and all images, in ms */
export async function findingsOf(
  images: readonly KnownImage[],
  registries: Pick<ReturnType<typeof createRegistryClient>, 'repositories'>,
  patience: number,
): Promise<readonly Finding[]> {
  const findings: Finding[] = [];
  const complete = new Set<string>();
  const left = new Map<string, number>();
  for (const { name, evidence } of images) {
    const { registry, repository } = parseReference(name);
    const places = registries.repositories({ registry, repository });
    // The last place is the registry itself, unless a mirror replaces it.
    for (const mirror of places.filter(({ host }) => host !== registry)) {
      const on = `mirror ${mirror.host}`;
      const time = left.get(on) ?? patience;
      // It has been reported.
      if (time <= 0) continue;
      const begun = performance.now();
      try {
        const signal = AbortSignal.timeout(time);
        const lacking = await lackingAtMirror(mirror, evidence, signal);
        if (lacking.length === 0) complete.add(on);
        else findings.push(droppedFinding(on, name, lacking, evidence.length));
      } catch (thrown) {
        findings.push({ topic: on, state: 'degraded', found: `does not answer: ${reasonOf(thrown)}` });
      } finally {
        left.set(on, Math.floor(time - (performance.now() - begun)));
      }
    }
  }
  const fine = [...complete].filter((on) => !findings.some(({ topic }) => topic === on));
  return [
    ...fine.map((topic): Finding => ({ topic, state: 'fine', found: 'serves the evidence of images' })),
    ...findings,
  ];
}

function droppedFinding(
  topic: string,
  image: string,
  lacking: readonly FoundEvidence[],
  known: number,
): Finding {
  const forms = [...new Set(lacking.map(({ foundBy }) => foundBy.split(' ')[0]))].join(', ');
  return {
    topic,
    state: 'degraded',
    found: `lacks ${lacking.length} of ${known} pieces of evidence of ${image} (found by: ${forms})`,
    meaning: ['the image is denied when only this mirror answers'],
    fix: `copy it with its evidence: portcullis images copy ${image} MIRROR/NAME:TAG; or let the mirror copy referrers`,
  };
}

/** Returns the first images that were admitted by evidence from a registry. */
async function knownImages({ image: service }: CriClient): Promise<readonly KnownImage[]> {
  const options = { timeoutMs: patienceMs };
  const { images } = await service.listImages({}, options);
  const known: KnownImage[] = [];
  for (const { id, repoTags, repoDigests } of images) {
    // An image that was pulled by its digest has no tag.
    const name = repoTags[0] ?? repoDigests[0];
    if (name === undefined || known.length >= mostImages) continue;
    const { info } = await service.imageStatus({ image: { image: id }, verbose: true }, options);
    const { evidence = [] } = parseJson(info['info'] ?? '{}') as { evidence?: readonly FoundEvidence[] };
    if (evidence.length > 0) known.push({ name, evidence });
  }
  return known;
}
