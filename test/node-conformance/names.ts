/** The registry that the specs pull from. A registry on loopback has its images. */
export const mirroredHost = 'registry.k8s.io';
/** Every image needs a signature, also one of a registry that does not exist. */
export const policyRules = `  - images: ["${mirroredHost}/**", "invalid.${mirroredHost}/**"]\n    require: { cosign: { key: k.pub } }\n    entitlements: { ceiling: privileged }\n`;
/** A second runtime handler, which the specs of RuntimeClass and PodOverhead require by this name. */
export const handlerName = 'test-handler';
/** The runtimes that the specs can run on. */
export const runtimeNames = ['portcullis', 'containerd'] as const;
export type RuntimeName = (typeof runtimeNames)[number];

export function isRuntimeName(name: string): name is RuntimeName {
  return (runtimeNames as readonly string[]).includes(name);
}
