// What scripts/bundle puts in: the names under which the workers' files are served, beside the page's own script.
declare const HUB_WORKER_FILE: string;
declare const IMPORT_WORKER_FILE: string;
// The name of the script with the views that come later, which a second attempt has to spell out.
declare const ON_DEMAND_FILE: string;
// Whether the page is a file that needs no server.
declare const IS_FILE_PAGE: boolean;
