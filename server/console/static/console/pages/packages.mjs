/** Parcels. */

import { open as openJobs } from "../jobs.mjs";

export const title = "Parcels";
const STATES = ["scheduled", "searching", "offered", "assigned", "arrived_pickup", "picked_up", "arrived_dropoff", "delivered", "failed", "returning", "returned", "cancelled", "no_courier"];

/** @param {HTMLElement} root */
export const open = (root) => openJobs(root, "package", title, STATES);
