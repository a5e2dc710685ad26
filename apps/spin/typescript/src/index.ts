/** The component: a handler for every request, and the variable that tells where Dapr is. */

import { get } from "fermyon:spin/variables@2.0.0";

import { handle } from "./app.ts";

declare const self: ServiceWorkerGlobalScope;

self.addEventListener("fetch", (event) => {
  event.respondWith(handle(event.request, () => get("dapr_url")));
});
