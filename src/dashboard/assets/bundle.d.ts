// Constants that scripts/bundle defines. The served names of the workers' files, relative to the page's own script.
declare const HUB_WORKER_FILE: string;
declare const IMPORT_WORKER_FILE: string;
// The name of the script with the views that are loaded on demand. A repeated attempt adds a query to it.
declare const ON_DEMAND_FILE: string;
// Whether the page is a file that needs no server.
declare const IS_FILE_PAGE: boolean;
