import { parseDocuments } from '../../../base/schema/index.ts';
import type { SandboxRecord } from '../../pods/record.ts';
import { badAdjustment } from '../adjustment/refusal.ts';

/** Plugins that must adjust the containers of a pod (nri, pkg/plugin/annotations.go). */
const requiredAnnotation = 'required-plugins.noderesource.dev';

/**
 * Returns the plugins that a pod requires for one of its containers. An annotation for the container has
 * precedence over an annotation for the pod.
 * @param container its name in the pod
 * @throws PortcullisError NRI_BAD_ADJUSTMENT when the annotation is not a list of names
 */
export function requiredByPod(
  { config }: Pick<SandboxRecord, 'config'>,
  container: string,
): readonly string[] {
  const keys = ['/container.' + container, '/pod', ''].map((suffix) => `${requiredAnnotation}${suffix}`);
  const key = keys.find((each) => Object.hasOwn(config.annotations, each));
  if (key === undefined) return [];
  const { documents, problems } = parseDocuments(config.annotations[key] ?? '', key, { documents: 1 });
  const value = documents[0]?.value;
  if (problems.length > 0 || !Array.isArray(value) || !value.every((one) => typeof one === 'string'))
    throw badAdjustment(
      { plugin: '(none)', field: 'annotation', key },
      'it is not a list of plugin names',
      'write it as a YAML list',
    );
  return value;
}
