/** The first page: its links have pictures. */

import { icon } from "../ui/dom.mjs";

for (const link of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll("[data-icon]"))) {
  link.prepend(icon(/** @type {any} */ (link.dataset.icon)));
}
