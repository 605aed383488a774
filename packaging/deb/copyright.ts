import type { BundledPackage } from '../notices.ts';
import { homepage, maintainer } from './control.ts';

/**
 * Returns /usr/share/doc/portcullis/copyright in the machine-readable form (DEP-5): the licence of Portcullis
 * and that of each bundled package, with its text.
 */
export function copyright(bundled: readonly BundledPackage[]): string {
  const stanzas = bundled.map(
    ({ name, version, license, text }) => `Files: ${pathOf(name)}
Copyright: the authors of ${name} ${version}
License: ${license.replaceAll(/[() ]+/gu, '-')}-${name.replaceAll(/[^A-Za-z0-9.+-]/gu, '-')}
 The licence of ${name} ${version} is ${license}. Its text:
${indented(withoutApacheText(text))}
`,
  );
  return `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: Portcullis
Upstream-Contact: ${maintainer}
Source: ${homepage}

Files: *
Copyright: the Portcullis authors
License: Apache-2.0
 On Debian systems, the complete text of the Apache License 2.0 is in
 /usr/share/common-licenses/Apache-2.0.

${stanzas.join('\n')}`;
}

/** The bundle contains parts of packages. Node and koffi's native part are packages of their own. */
function pathOf(name: string): string {
  return /^(?:node-linux-|@koromix\/)/u.test(name)
    ? `usr/lib/portcullis/node_modules/${name}/*`
    : `usr/lib/portcullis/dist/${name}/*`;
}

/** Replaces the text of the Apache License, which every Debian system has. */
function withoutApacheText(text: string): string {
  return text.replaceAll(
    /^[ \t]*Apache License\s+Version 2\.0, January 2004[^]*?END OF TERMS AND CONDITIONS\s*?(?:\n\s*APPENDIX[^]*?limitations under the License\.)?/gmu,
    'The Apache License 2.0: /usr/share/common-licenses/Apache-2.0.',
  );
}

function indented(text: string): string {
  return text
    .split('\n')
    .map((line) => (line.trim() === '' ? ' .' : `  ${line.replaceAll('\t', '  ').trimEnd()}`))
    .join('\n');
}
