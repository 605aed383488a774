import type { Component, Subject } from './components.ts';
import { uuidOf } from './cyclonedx.ts';

/** Returns the SBOM in SPDX 2.3, as JSON. */
export function spdxOf(subject: Subject, components: readonly Component[]): string {
  const main = 'SPDXRef-Package-portcullis';
  const document = {
    spdxVersion: 'SPDX-2.3',
    dataLicense: 'CC0-1.0',
    SPDXID: 'SPDXRef-DOCUMENT',
    name: `${subject.name}-${subject.version}`,
    documentNamespace: `https://portcullis.dev/spdx/${subject.name}-${subject.version}-${uuidOf(subject.purl, JSON.stringify(components))}`,
    creationInfo: {
      created: new Date(subject.time * 1000).toISOString().replace('.000Z', 'Z'),
      creators: ['Organization: Portcullis', `Tool: portcullis-release-${subject.version}`],
    },
    documentDescribes: [main],
    packages: [
      {
        ...packageOf(main, subject),
        summary: subject.description,
        primaryPackagePurpose: 'APPLICATION',
        externalRefs: [purlReference(subject.purl)],
      },
      ...components.map((component) => ({
        ...packageOf(idOf(component), component),
        checksums: [
          { algorithm: component.hash.algorithm.replace('-', ''), checksumValue: component.hash.value },
        ],
        externalRefs: [
          purlReference(component.purl),
          ...(component.cpe === undefined
            ? []
            : [
                {
                  referenceCategory: 'SECURITY',
                  referenceType: 'cpe23Type',
                  referenceLocator: component.cpe,
                },
              ]),
        ],
      })),
    ],
    relationships: components.map((component) => ({
      spdxElementId: main,
      relationshipType: 'CONTAINS',
      relatedSpdxElement: idOf(component),
    })),
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

function packageOf(
  id: string,
  { name, version, license }: { readonly name: string; readonly version: string; readonly license: string },
): object {
  return {
    SPDXID: id,
    name,
    versionInfo: version,
    downloadLocation: 'NOASSERTION',
    filesAnalyzed: false,
    licenseConcluded: license,
    licenseDeclared: license,
    copyrightText: 'NOASSERTION',
  };
}

function idOf({ name, version }: Component): string {
  return `SPDXRef-Package-${`${name}-${version}`.replaceAll(/[^A-Za-z0-9.-]/gu, '-')}`;
}

function purlReference(purl: string): object {
  return { referenceCategory: 'PACKAGE-MANAGER', referenceType: 'purl', referenceLocator: purl };
}
