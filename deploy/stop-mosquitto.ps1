#!/usr/bin/env pwsh
<#
.SYNOPSIS
    Stops a server so that its machine costs nothing: its disk and addresses are kept, and still cost a little.
.EXAMPLE
    ./stop-mosquitto.ps1 -ServerNumber 2
#>
#requires -Version 7.4
[CmdletBinding(SupportsShouldProcess)]
param(
    # As it was deployed.
    [string] $Environment = $env:DEPLOY_ENVIRONMENT ?? 'Dev',

    # As it was deployed.
    [int] $ServerNumber = ($env:DEPLOY_SERVER_NUMBER ?? 1)
)
. "$PSScriptRoot/azure.ps1"

Assert-Parameter -Pattern @{ Environment = '[A-Za-z][A-Za-z0-9]{0,7}'; ServerNumber = '[1-9][0-9]?' }
$name = Get-ServerName -Environment $Environment -ServerNumber $ServerNumber
if (-not (Test-ServerGroup -Group $name.Group)) {
    throw "there is no resource group $($name.Group): nothing to stop"
}
if ($PSCmdlet.ShouldProcess($name.Machine, 'stop and deallocate')) {
    Invoke-Az vm deallocate --resource-group $name.Group --name $name.Machine --output none
    Write-Output "$($name.Machine) is stopped; start-mosquitto.ps1 starts it with the same names and addresses"
}
