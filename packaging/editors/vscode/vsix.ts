import { readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { build } from 'esbuild';
import manifest from '../../../package.json' with { type: 'json' };
import { zipOf } from '../../archives/zip.ts';
import { catalogEntries } from '../catalog.ts';
import extension from './extension.json' with { type: 'json' };

const root = join(import.meta.dirname, '../../..');

/**
 * Returns the extension for VS Code as a .vsix (a ZIP archive by the Open Packaging Conventions). It contains
 * the published schemas. The same sources give the same bytes.
 * @param time time of the release, in seconds since 1970
 * @throws esbuild's error when a source does not build
 */
export async function vsixOf(time: number): Promise<Buffer> {
  const { outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ['packaging/editors/vscode/main.ts'],
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'node',
    target: 'node20',
    external: ['vscode'],
    logLevel: 'warning',
  });
  const schemas = catalogEntries().map(({ url, fileMatch }) => ({ file: basename(url), fileMatch }));
  const rowsOf = (kinds: RegExp): readonly object[] =>
    schemas.map(({ file, fileMatch }) => ({
      fileMatch: fileMatch.filter((name) => kinds.test(name)),
      url: `./schemas/${file}`,
    }));
  const contributes = {
    ...extension.contributes,
    // The extension "YAML" of Red Hat reads it.
    yamlValidation: rowsOf(/\.ya?ml$/u),
    jsonValidation: rowsOf(/\.json$/u).filter(
      (row) => (row as { readonly fileMatch: readonly string[] }).fileMatch.length > 0,
    ),
  };
  const text = (path: string, content: string) => ({ path, bytes: Buffer.from(content) });
  const file = (path: string, from: string) => ({ path, bytes: readFileSync(join(root, from)) });
  return zipOf(
    [
      text('[Content_Types].xml', contentTypes),
      text('extension.vsixmanifest', vsixManifest()),
      text(
        'extension/package.json',
        `${JSON.stringify({ ...extension, version: manifest.version, contributes }, null, 2)}\n`,
      ),
      { path: 'extension/main.js', bytes: outputFiles[0]?.contents ?? new Uint8Array() },
      file('extension/README.md', 'packaging/editors/vscode/README.md'),
      file('extension/LICENSE.txt', 'LICENSE'),
      ...schemas.map(({ file: name }) => file(`extension/schemas/${name}`, `docs/schemas/${name}`)),
    ],
    time,
  );
}

const contentTypes = `<?xml version="1.0" encoding="utf-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
  <Default Extension=".json" ContentType="application/json"/>
  <Default Extension=".js" ContentType="application/javascript"/>
  <Default Extension=".md" ContentType="text/markdown"/>
  <Default Extension=".txt" ContentType="text/plain"/>
  <Default Extension=".vsixmanifest" ContentType="text/xml"/>
</Types>
`;

/** The texts of the manifest have no characters that XML reserves. */
function vsixManifest(): string {
  const { name, publisher, displayName, description, engines, categories } = extension;
  return `<?xml version="1.0" encoding="utf-8"?>
<PackageManifest Version="2.0.0" xmlns="http://schemas.microsoft.com/developer/vsx-schema/2011">
  <Metadata>
    <Identity Language="en-US" Id="${name}" Version="${manifest.version}" Publisher="${publisher}"/>
    <DisplayName>${displayName}</DisplayName>
    <Description xml:space="preserve">${description}</Description>
    <Categories>${categories.join(',')}</Categories>
    <Properties>
      <Property Id="Microsoft.VisualStudio.Code.Engine" Value="${engines.vscode}"/>
      <Property Id="Microsoft.VisualStudio.Code.ExtensionKind" Value="workspace"/>
    </Properties>
    <License>extension/LICENSE.txt</License>
  </Metadata>
  <Installation>
    <InstallationTarget Id="Microsoft.VisualStudio.Code"/>
  </Installation>
  <Dependencies/>
  <Assets>
    <Asset Type="Microsoft.VisualStudio.Code.Manifest" Path="extension/package.json" Addressable="true"/>
    <Asset Type="Microsoft.VisualStudio.Services.Content.Details" Path="extension/README.md" Addressable="true"/>
    <Asset Type="Microsoft.VisualStudio.Services.Content.License" Path="extension/LICENSE.txt" Addressable="true"/>
  </Assets>
</PackageManifest>
`;
}
