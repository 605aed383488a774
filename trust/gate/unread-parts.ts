import { append } from '../../base/lists/index.ts';
import type { PathSegment } from '../../base/schema/index.ts';
import { recordOf } from '../json/strict-json.ts';

/** An object of the API, as references name it. */
export interface ObjectName {
  /** The API group without its version; empty for the core group. */
  readonly group: string;
  readonly kind: string;
  /** Empty for an object of the whole cluster, and when the namespace is not known. */
  readonly namespace: string;
  readonly name: string;
}

/** A part of a custom object that may lead to containers, and whose images the gate does not see. */
export interface UnreadPart {
  readonly path: readonly PathSegment[];
  /** Such as `TaskRun shop/build, taskRef`. */
  readonly object: string;
  readonly why: string;
  readonly fix: string;
  /** The object that it refers to. The part is read if the same run reads that object. */
  readonly target?: ObjectName;
  /** The image that it may name. The part is read if the same run decides about that image. */
  readonly image?: string;
}

/** The object that a part belongs to. */
interface PartOwner {
  /** Such as `TaskRun shop/build`. */
  readonly called: string;
  readonly group: string;
  readonly namespace: string;
}

/** Kinds that references by name mean, in the namespace and in the whole cluster (Tekton, Argo). */
const references: Readonly<Record<string, { readonly kind: string; readonly clusterKind: string }>> = {
  taskRef: { kind: 'Task', clusterKind: 'ClusterTask' },
  pipelineRef: { kind: 'Pipeline', clusterKind: 'Pipeline' },
  templateRef: { kind: 'WorkflowTemplate', clusterKind: 'ClusterWorkflowTemplate' },
  workflowTemplateRef: { kind: 'WorkflowTemplate', clusterKind: 'ClusterWorkflowTemplate' },
  workloadRef: { kind: 'Deployment', clusterKind: 'Deployment' },
};
/** Argo Rollouts names templates of analyses by a text. */
const analysisName = 'templateName';
const [analysisKind, wideAnalysisKind] = ['AnalysisTemplate', 'ClusterAnalysisTemplate'];
/** Kinds of the whole cluster that references by name mean. */
const wideKinds: ReadonlySet<string> = new Set([
  wideAnalysisKind,
  ...Object.values(references)
    .filter(({ kind, clusterKind }) => kind !== clusterKind)
    .map(({ clusterKind }) => clusterKind),
]);
/** Names of fields under which custom resources keep images: `image`, `images`, `baseImage`, `imageName`. */
const imageField = /image(?:s|name|ref|reference|ur[il])?$/iu;
/** Names of fields for the image itself in a map that is called like an image. */
const imageNames = ['repository', 'name', 'url', 'uri', 'ref', 'reference'] as const;

/** An object of the whole cluster has no namespace, whichever the run gives to objects that name none. */
export const keyOf = ({ group, kind, namespace, name }: ObjectName): string =>
  JSON.stringify([group, kind, wideKinds.has(kind) ? '' : namespace, name]);

/** Returns the API group of an `apiVersion`. */
export function groupOf(apiVersion: unknown): string {
  const text = textOf(apiVersion) ?? '';
  return text.includes('/') ? text.slice(0, text.indexOf('/')) : '';
}

/**
 * Returns what the gate does not follow in one map of a custom object: references to other objects by name,
 * and fields that are called like an image. References that are fetched when they run are problems already,
 * and are left to the caller.
 * @param isRead returns whether a field of the map was read as an image
 */
export function unreadParts(
  part: Readonly<Record<string, unknown>>,
  path: readonly PathSegment[],
  owner: PartOwner,
  isRead: (path: readonly PathSegment[]) => boolean,
): readonly UnreadPart[] {
  const found: UnreadPart[] = [];
  for (const field of Object.keys(part)) {
    const value = part[field];
    const known = Object.hasOwn(references, field) ? references[field] : undefined;
    const record = recordOf(value);
    if (known !== undefined && record !== undefined) {
      if (record['resolver'] !== undefined || record['bundle'] !== undefined) continue;
      found.push(referencePart([...path, field], owner, field, targetOf(record, known, owner)));
    } else if (field === analysisName && typeof value === 'string') {
      const isWide = part['clusterScope'] === true;
      const kind = isWide ? wideAnalysisKind : analysisKind;
      const namespace = isWide ? '' : owner.namespace;
      found.push(
        referencePart([...path, field], owner, field, { group: owner.group, kind, namespace, name: value }),
      );
    } else if (imageField.test(field) && !isRead([...path, field])) {
      append(
        found,
        imagesIn(value, [...path, field]).map((one) => imagePart(one.path, owner, field, one.image)),
      );
    }
  }
  return found;
}

function targetOf(
  reference: Readonly<Record<string, unknown>>,
  known: { readonly kind: string; readonly clusterKind: string },
  { group, namespace }: PartOwner,
): ObjectName {
  const isWide = reference['clusterScope'] === true;
  const kind = textOf(reference['kind']) ?? (isWide ? known.clusterKind : known.kind);
  const apiVersion = textOf(reference['apiVersion']) ?? '';
  return {
    group: apiVersion === '' ? group : groupOf(apiVersion),
    kind,
    namespace: isWide || wideKinds.has(kind) ? '' : namespace,
    name: textOf(reference['name']) ?? '',
  };
}

function referencePart(
  path: readonly PathSegment[],
  { called }: PartOwner,
  field: string,
  target: ObjectName,
): UnreadPart {
  const named = `${target.kind} ${target.namespace === '' ? '' : `${target.namespace}/`}${target.name}`;
  return {
    path,
    object: `${called}, ${field}`,
    why: `the images of the ${named} are not checked, because its manifest is not in this run`,
    fix: 'name the manifest of that object with --images-from, too',
    target,
  };
}

function imagePart(
  path: readonly PathSegment[],
  { called }: PartOwner,
  field: string,
  image: string,
): UnreadPart {
  return {
    path,
    object: `${called}, ${field}`,
    why: `${JSON.stringify(image.slice(0, 300))} is not checked, because the meaning of the field is not known`,
    fix: 'if it is an image, name it as an argument, too',
    image,
  };
}

interface FoundImage {
  readonly path: readonly PathSegment[];
  readonly image: string;
}

/** Images as texts, or in parts as charts of Helm write them. */
function imagesIn(value: unknown, path: readonly PathSegment[]): readonly FoundImage[] {
  if (Array.isArray(value)) return value.flatMap((one, index) => imagesIn(one, [...path, index]));
  const image = typeof value === 'string' ? value : imageOf(recordOf(value) ?? {});
  return image === '' ? [] : [{ path, image }];
}

/** @returns an empty text when the map names no image, or in a field that is called like one */
function imageOf(parts: Readonly<Record<string, unknown>>): string {
  if (Object.keys(parts).some((field) => imageField.test(field))) return '';
  const { registry, tag, digest } = parts;
  const name = imageNames.map((field) => textOf(parts[field]) ?? '').find((text) => text !== '') ?? '';
  if (name === '') return '';
  const host = textOf(registry) ?? '';
  const label = typeof tag === 'number' ? String(tag) : (textOf(tag) ?? '');
  const hash = textOf(digest) ?? '';
  return `${host === '' ? '' : `${host}/`}${name}${label === '' ? '' : `:${label}`}${hash === '' ? '' : `@${hash}`}`;
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
