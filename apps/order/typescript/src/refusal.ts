/** The one error of this package. */

/** Why a body is no order. The sender has to change it: answered with 400. */
export class Refusal extends Error {
  constructor(reason: string) {
    super(`the body is not an order: ${reason}`);
  }
}
