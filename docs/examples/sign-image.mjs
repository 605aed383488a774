// Sign an image with a key file, in the form that cosign v3 verifies.
//   COSIGN_PASSWORD=… node sign-image.mjs registry.example.com/pay/api:1 cosign.key
import { openRegistries, openSigner, signReference } from 'portcullis/trust';

const [reference = '', key = ''] = process.argv.slice(2);
const signer = await openSigner({ key, passphrase: { environment: process.env }, now: new Date() });
const registry = await openRegistries({ mirrors: [], insecureHosts: [] });
const signed = await signReference({
  reference,
  key: signer,
  format: 'bundle',
  recursive: true,
  registry,
  now: new Date(),
});
for (const { digest, manifestDigest } of signed) console.log(`${digest} is signed by ${manifestDigest}`);
await registry.close();
await signer.close();
