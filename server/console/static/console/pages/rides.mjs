/** Rides. */

import { open as openJobs } from "../jobs.mjs";

export const title = "Rides";
const STATES = ["scheduled", "searching", "offered", "assigned", "arrived", "in_progress", "completed", "cancelled", "no_driver", "no_show"];

/** @param {HTMLElement} root */
export const open = (root) => openJobs(root, "ride", title, STATES);
