import type { Document } from '../../base/schema/index.ts';
import type { Parameter, ParameterValue } from './parameters.ts';
import type { Sections } from './sections.ts';

type Parent = string | { readonly profile: string; readonly with?: Readonly<Record<string, ParameterValue>> };

/** A valid `kind: EntitlementProfile` document, according to its schema. */
export interface ProfileDocument extends Sections {
  readonly metadata: { readonly name: string };
  readonly parameters?: Readonly<Record<string, Parameter>>;
  readonly extends?: readonly Parent[];
  readonly entitlements?: readonly string[];
}

export function valueOf(document: Document): ProfileDocument {
  return document.value as ProfileDocument;
}
