/** Spin's variables, as the component is bound to them. */
declare module "fermyon:spin/variables@2.0.0" {
  /**
   * The value of a variable of this component.
   *
   * @throws when the component has no such variable
   */
  export function get(name: string): string;
}
