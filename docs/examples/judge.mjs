// Trust and entitlements alone, no container: may this image run, and what would the kernel enforce?
//   node judge.mjs policy-folder registry.example.com/pay/api:1 NAMESPACE [HOST=URL of a mirror]
import { compile, detectKernel, loadProfiles, settingsToJson } from 'portcullis/entitlements';
import { explainVerdict, loadPolicy, openRegistries, verifyImage } from 'portcullis/trust';

const [policyFolder = '', reference = '', namespace = '', mirror] = process.argv.slice(2);
const { policy } = await loadPolicy({ paths: [policyFolder] });
const registry = await openRegistries({ mirrors: mirror === undefined ? [] : [mirror], insecureHosts: [] });
const { verdict } = await verifyImage({ reference, namespace, policy, registry, now: new Date() });
console.log(explainVerdict(verdict));
await registry.close();

if (verdict.outcome === 'admit') {
  const profiles = await loadProfiles({ paths: [policyFolder] });
  for (const { ceiling } of verdict.ceilings) {
    const architecture = process.arch === 'arm64' ? 'aarch64' : 'x86_64';
    const settings = compile(profiles.resolve(ceiling), {
      architecture,
      runtime: 'crun',
      kernel: detectKernel(),
    });
    console.log(`at most (${ceiling}): ${settingsToJson(settings).capabilities.bounding.join(' ')}`);
  }
}
process.exitCode = { admit: 0, deny: 1, undecided: 3 }[verdict.outcome];
