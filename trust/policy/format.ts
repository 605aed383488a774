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
const ruleKeys = [
  'images',
  'except',
  'namespaces',
  'require',
  'allow',
  'deny',
  'mode',
  'breakGlass',
  'onStale',
  'entitlements',
];
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

/** The order in which the keys of a policy or a policy test are written. */
const order: KeyOrder = (path) => {
  if (path.length === 0) return documentKeys;
  if (path.length !== 2) return undefined;
  return path[0] === 'rules' ? ruleKeys : path[0] === 'cases' ? caseKeys : undefined;
};

/** Returns a policy file in its canonical form. Comments and meaning are kept. Never throws. */
export function formatPolicy(
  text: string,
  file: string,
): { readonly text: string; readonly problems: readonly Problem[] } {
  return formatDocuments(text, file, order);
}
