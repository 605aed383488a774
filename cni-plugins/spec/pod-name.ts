/** A pod as Kubernetes names it. */
export interface PodName {
  readonly name: string;
  readonly namespace: string;
  readonly uid: string;
}
