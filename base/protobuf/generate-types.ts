import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseDeclaration } from './declaration.ts';
import type { Declaration } from './declaration.ts';
import { generateTypes } from './types.ts';

// This program writes contract.types.ts from the contract.json of each folder: `node
// base/protobuf/generate-types.ts runtime/cri/contract`.
for (const folder of process.argv.slice(2)) {
  const declaration = JSON.parse(readFileSync(join(folder, 'contract.json'), 'utf8')) as Declaration;
  writeFileSync(join(folder, 'contract.types.ts'), generateTypes(parseDeclaration(declaration)));
}
