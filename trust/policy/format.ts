import { formatDocuments } from '../../base/schema/index.ts';
import type { KeyOrder, Problem } from '../../base/schema/index.ts';

const documentKeys = [
  '$schema',
  'apiVersion',
  'kind',
  'metadata',
  'namespaces',
  'mode',
  'breakGlass',
  'policy',
  'keys',
  'now',
  'default',
  'rules',
  'cases',
];
const ruleKeys = ['images', 'except', 'namespaces', 'require', 'allow', 'deny', 'mode', 'breakGlass', 'onStale', 'entitlements'];
const caseKeys = [
  'name',
  'image',
  'namespace',
  'platform',
  'now',
  'dossier',
  'index',
  'signed',
  'attested',
  'unreachable',
  'expect',
  'reason',
  'exception',
];

/** The order in which a policy's, or a policy test's, keys are written. */
const order: KeyOrder = (path) => {
  if (path.length === 0) return documentKeys;
  if (path.length !== 2) return undefined;
  return path[0] === 'rules' ? ruleKeys : path[0] === 'cases' ? caseKeys : undefined;
};

/** A policy file in its canonical form; comments and meaning stay. Never throws. */
export function formatPolicy(text: string, file: string): { readonly text: string; readonly problems: readonly Problem[] } {
  return formatDocuments(text, file, order);
}
