/** The surface of @nephos/events. */
export {};
