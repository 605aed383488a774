/**
 * Import of policies from the formats of other tools, and export into them: for programs that move a user
 * from one tool to another.
 */
export { exportFormats, exportPolicy, importFormats, importPolicy } from './convert.ts';
export type { ExportedPolicy, ExportFormat, ImportFormat } from './convert.ts';
export { describeUnmapped, importedText, writeImported } from './write-imported.ts';
export type { ImportedPolicy, ImportedRule, Unmapped } from './mapping/imported.ts';
