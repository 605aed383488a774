/** Another runtime, and the result of its tests with our plugins. */
export interface Judged {
  readonly start: () => void | Promise<void>;
  /** Returns whether all tests passed, and the links that its pods left. */
  readonly judge: () => { readonly passed: boolean; readonly left: string };
  readonly stop: () => void;
}
