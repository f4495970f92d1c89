export function workshopPlugin() { return { id: "mmaudit:workshop", autoStart: true, activate() {} }; }
