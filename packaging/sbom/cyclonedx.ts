import { createHash } from 'node:crypto';
import type { Component, Subject } from './components.ts';

/** Returns the SBOM in CycloneDX 1.6, as JSON. */
export function cyclonedxOf(subject: Subject, components: readonly Component[]): string {
  const document = {
    bomFormat: 'CycloneDX',
    specVersion: '1.6',
    serialNumber: `urn:uuid:${uuidOf(subject.purl, JSON.stringify(components))}`,
    version: 1,
    metadata: {
      timestamp: new Date(subject.time * 1000).toISOString(),
      component: {
        type: 'application',
        'bom-ref': subject.purl,
        name: subject.name,
        version: subject.version,
        description: subject.description,
        licenses: licensesOf(subject.license),
        purl: subject.purl,
      },
    },
    components: components.map(({ name, version, license, hash, purl, cpe }) => {
      const [, group, base = name] = /^(@[^/]+)\/(.+)$/u.exec(name) ?? [];
      return {
        type: cpe === undefined ? 'library' : 'platform',
        'bom-ref': purl,
        ...(group === undefined ? {} : { group }),
        name: base,
        version,
        hashes: [{ alg: hash.algorithm, content: hash.value }],
        licenses: licensesOf(license),
        ...(cpe === undefined ? {} : { cpe }),
        purl,
      };
    }),
    dependencies: [{ ref: subject.purl, dependsOn: components.map(({ purl }) => purl) }],
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function licensesOf(license: string): readonly object[] {
  return / (?:AND|OR|WITH) /u.test(license) ? [{ expression: license }] : [{ license: { id: license } }];
}

/** Returns a UUID that follows from the content (RFC 9562, version 8): a rebuild has the same. */
export function uuidOf(...texts: readonly string[]): string {
  const bytes = createHash('sha256').update(texts.join('\0')).digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/u, '$1-$2-$3-$4-$5');
}
