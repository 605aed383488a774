// Gather the evidence about an image once, and decide later, elsewhere, without a network: the same input
// gives the same verdict.   node decide-offline.mjs gather policy.yaml 127.0.0.1:5000 pay/api 1 >
// dossier.json   node decide-offline.mjs decide policy.yaml < dossier.json
import { text } from 'node:stream/consumers';
import { decide, explainVerdict, gather, hostPlatform, loadPolicy, openRegistries } from 'portcullis/trust';

const [step, policyFile = '', host = '', name = '', tag = ''] = process.argv.slice(2);
const { policy } = await loadPolicy({ paths: [policyFile] });

if (step === 'gather') {
  const registry = await openRegistries({ mirrors: [], insecureHosts: [] });
  const repositories = await registry.repositories({ registry: host, repository: name });
  const { digest } = await repositories[0].resolve(tag);
  const reference = `${host}/${name}:${tag}`;
  // For an index, `manifestDigest` would be the manifest of the platform: a signature on either may count.
  const dossier = await gather({
    reference,
    digest,
    manifestDigest: digest,
    repositories,
    policy,
    now: new Date(),
  });
  console.log(JSON.stringify(dossier));
  await registry.close();
} else {
  const dossier = JSON.parse(await text(process.stdin));
  const verdict = decide({
    dossier,
    reference: dossier.reference,
    namespace: '',
    platform: hostPlatform(),
    policy,
    now: new Date(),
  });
  console.log(explainVerdict(verdict));
  process.exitCode = { admit: 0, deny: 1, undecided: 3 }[verdict.outcome];
}
