export function auditPlugin() { return { id: "mmaudit:audit", autoStart: true, activate() {} }; }
